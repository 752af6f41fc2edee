package estimate

import "math"

// maxValidators is the largest number that a node is assumed to have.
const maxValidators = 100_000

// newGrid returns the numbers of validators that the model distinguishes: each up to 200, then in
// steps of 1.1 %, up to the largest possible.
func newGrid(most int) []int {
	const exact, step = 200, 1.011
	var g []int
	for v := 0; v <= min(exact, most); v++ {
		g = append(g, v)
	}
	for v := float64(exact + 1); v < float64(most); v *= step {
		if n := int(math.Round(v)); n > g[len(g)-1] && n <= most {
			g = append(g, n)
		}
	}
	if g[len(g)-1] < most && most < maxValidators { // a network's limit; maxValidators is not a physical one
		g = append(g, most)
	}
	return g
}

// cellOf is the range of numbers that a grid's point represents.
func cellOf(grid []int, i int) (low, high float64) {
	low, high = float64(grid[i]), float64(grid[i])
	if i > 0 {
		low = float64(grid[i-1]+grid[i]) / 2
	}
	if i+1 < len(grid) {
		high = float64(grid[i]+grid[i+1]) / 2
	}
	return low, high
}

// quantiles of the weights, which sum to total: the median and the ends of the middle
// 90 %. Where a point represents a range, the interval takes in the whole of it.
func quantiles(grid []int, weights []float64, total float64) (median int, low, high float64) {
	const tail = 0.05
	l, mid, h := -1, -1, -1
	sum := 0.0
	for i, w := range weights {
		sum += w
		if l < 0 && sum >= tail*total {
			l = i
		}
		if mid < 0 && sum >= total/2 {
			mid = i
		}
		if sum >= (1-tail)*total {
			h = i
			break
		}
	}
	if h < 0 { // the sum fell short by rounding
		h = len(weights) - 1
		l, mid = max(l, 0), max(mid, 0)
	}
	median = grid[mid]
	low, high = float64(grid[l]), float64(grid[h])
	if grid[l] > 200 {
		low, _ = cellOf(grid, l)
	}
	if grid[h] >= 200 {
		_, high = cellOf(grid, h)
	}
	return median, low, high
}
