package cli

// nearest is the name that differs from word by a typing error or two, the nearest of
// them; empty when there is none: a suggestion that is a guess misleads.
func nearest(word string, names []string) (best string) {
	within := max(1, len(word)/3)
	for _, name := range names {
		if d := typingErrors(word, name); d <= within && d < len(word) {
			best, within = name, d-1
		}
	}
	return best
}

// typingErrors counts the letters missing, added, replaced or swapped with their
// neighbour (the optimal string alignment distance).
func typingErrors(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
