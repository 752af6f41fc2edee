// Package trend tells whether something that is measured again and again grows.
package trend

import (
	"math"
	"slices"
	"time"
)

// Point is a value that was measured at a time after the start of the run, in a life of
// the process: a process that was killed starts a new one.
type Point struct {
	At    time.Duration
	Life  int
	Value float64
}

// Trend is how fast a value changes within lives, per hour.
type Trend struct {
	PerHour   float64
	Low, High float64 // of the 95 % interval
	Known     bool    // there were enough points
}

const (
	// maxBlocks and minBlocks are of the run: more blocks than that say little more, and
	// fewer do not tell how much they scatter.
	maxBlocks, minBlocks = 64, 8
	// calm is the correlation of neighbouring blocks up to which they count as independent.
	calm = 0.1
)

// Of fits a line with one slope, and an intercept for each life, to the means of
// blocks of points, which are in the order of time. Neighbouring samples of memory
// resemble each other, and would make the interval too narrow. So blocks are made longer
// until the residuals of neighbours are hardly correlated; what correlation is left then
// widens the interval, as for an AR(1) process.
func Of(points []Point) (out Trend) {
	for blocks := maxBlocks; blocks >= minBlocks; blocks /= 2 {
		t, correlation := fit(blockMeans(points, blocks))
		if !t.Known {
			break
		}
		if out = t; correlation <= calm {
			break
		}
	}
	return out
}

// livesOf splits points by life.
func livesOf(points []Point) (lives [][]Point) {
	for len(points) > 0 {
		n := slices.IndexFunc(points, func(p Point) bool { return p.Life != points[0].Life })
		if n < 0 {
			n = len(points)
		}
		lives, points = append(lives, points[:n]), points[n:]
	}
	return lives
}

// blockMeans averages about as many blocks of equally many points of one life.
func blockMeans(points []Point, blocks int) (out []Point) {
	for _, life := range livesOf(points) {
		n := max(1, blocks*len(life)/len(points))
		for i := range n {
			block := life[i*len(life)/n : (i+1)*len(life)/n]
			if len(block) == 0 {
				continue
			}
			mean := Point{Life: block[0].Life}
			for _, p := range block {
				mean.At += p.At / time.Duration(len(block))
				mean.Value += p.Value / float64(len(block))
			}
			out = append(out, mean)
		}
	}
	return out
}

// fit is the least squares line through points, and the correlation of the residuals of
// neighbours of one life.
func fit(points []Point) (out Trend, correlation float64) {
	lives := livesOf(points)
	free := len(points) - len(lives) - 1
	xs, ys := make([][]float64, len(lives)), make([][]float64, len(lives))
	sxx, sxy := 0.0, 0.0
	for i, life := range lives {
		for _, p := range life {
			xs[i], ys[i] = append(xs[i], p.At.Hours()), append(ys[i], p.Value)
		}
		centre(xs[i])
		centre(ys[i])
		sxx, sxy = sxx+dot(xs[i], xs[i]), sxy+dot(xs[i], ys[i])
	}
	if free < minBlocks/2 || sxx == 0 {
		return Trend{}, 0
	}
	out.PerHour, out.Known = sxy/sxx, true
	rss, neighbours := 0.0, 0.0
	for i, residual := range ys {
		for j := range residual {
			residual[j] -= out.PerHour * xs[i][j]
		}
		rss += dot(residual, residual)
		neighbours += dot(residual[1:], residual[:len(residual)-1])
	}
	if rss > 0 {
		// Each parameter of the fit takes about 1/n from the correlation.
		correlation = (neighbours/rss*float64(len(points)) + float64(len(lives)+1)) / float64(len(points)-len(lives))
	}
	r := min(0.9, max(0, correlation))
	half := studentT(free) * math.Sqrt(rss/float64(free)/sxx*(1+r)/(1-r))
	out.Low, out.High = out.PerHour-half, out.PerHour+half
	return out, correlation
}

// centre subtracts the mean.
func centre(list []float64) {
	sum := 0.0
	for _, v := range list {
		sum += v
	}
	for i := range list {
		list[i] -= sum / float64(len(list))
	}
}

func dot(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// studentT is the 97.5 % point of Student's distribution with 3 or more degrees of
// freedom, within 1 % (Abramowitz and Stegun 26.7.5).
func studentT(degrees int) float64 {
	const z = 1.959964
	const z3, z5, z7 = z * z * z, z * z * z * z * z, z * z * z * z * z * z * z
	v := float64(degrees)
	return z + (z3+z)/(4*v) + (5*z5+16*z3+3*z)/(96*v*v) + (3*z7+19*z5+17*z3-15*z)/(384*v*v*v)
}
