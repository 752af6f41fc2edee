package soak

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// point is a value that was measured at a time after the start of the run, in a life of
// the process: a process that was killed starts a new one.
type point struct {
	at    time.Duration
	life  int
	value float64
}

// trend is how fast a value changes within lives, per hour.
type trend struct {
	perHour   float64
	low, high float64 // of the 95 % interval
	known     bool    // there were enough points
}

const (
	// maxBlocks and minBlocks are of the run: more blocks than that say little more, and
	// fewer do not tell how much they scatter.
	maxBlocks, minBlocks = 64, 8
	// calm is the correlation of neighbouring blocks up to which they count as independent.
	calm = 0.1
)

// trendOf fits a line with one slope, and an intercept for each life, to the means of
// blocks of points, which are in the order of time. Neighbouring samples of memory
// resemble each other, and would make the interval too narrow. So blocks are made longer
// until the residuals of neighbours are hardly correlated; what correlation is left then
// widens the interval, as for an AR(1) process.
func trendOf(points []point) (out trend) {
	for blocks := maxBlocks; blocks >= minBlocks; blocks /= 2 {
		t, correlation := fit(blockMeans(points, blocks))
		if !t.known {
			break
		}
		if out = t; correlation <= calm {
			break
		}
	}
	return out
}

// livesOf splits points by life.
func livesOf(points []point) (lives [][]point) {
	for len(points) > 0 {
		n := slices.IndexFunc(points, func(p point) bool { return p.life != points[0].life })
		if n < 0 {
			n = len(points)
		}
		lives, points = append(lives, points[:n]), points[n:]
	}
	return lives
}

// blockMeans averages about as many blocks of equally many points of one life.
func blockMeans(points []point, blocks int) (out []point) {
	for _, life := range livesOf(points) {
		n := max(1, blocks*len(life)/len(points))
		for i := range n {
			block := life[i*len(life)/n : (i+1)*len(life)/n]
			if len(block) == 0 {
				continue
			}
			mean := point{life: block[0].life}
			for _, p := range block {
				mean.at += p.at / time.Duration(len(block))
				mean.value += p.value / float64(len(block))
			}
			out = append(out, mean)
		}
	}
	return out
}

// fit is the least squares line through points, and the correlation of the residuals of
// neighbours of one life.
func fit(points []point) (out trend, correlation float64) {
	lives := livesOf(points)
	free := len(points) - len(lives) - 1
	xs, ys := make([][]float64, len(lives)), make([][]float64, len(lives))
	sxx, sxy := 0.0, 0.0
	for i, life := range lives {
		for _, p := range life {
			xs[i], ys[i] = append(xs[i], p.at.Hours()), append(ys[i], p.value)
		}
		centre(xs[i])
		centre(ys[i])
		sxx, sxy = sxx+dot(xs[i], xs[i]), sxy+dot(xs[i], ys[i])
	}
	if free < minBlocks/2 || sxx == 0 {
		return trend{}, 0
	}
	out.perHour, out.known = sxy/sxx, true
	rss, neighbours := 0.0, 0.0
	for i, residual := range ys {
		for j := range residual {
			residual[j] -= out.perHour * xs[i][j]
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
	out.low, out.high = out.perHour-half, out.perHour+half
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

// series are values of a noise whose neighbours are correlated, and which grows.
func series(random *rand.Rand, n, lives int, correlation, perHour float64) []point {
	const step = 10 * time.Second
	var out []point
	noise, length := random.NormFloat64(), n/lives
	for i := range n {
		if noise *= correlation; i%length == 0 {
			noise = 0
		}
		noise += random.NormFloat64() * math.Sqrt(1-correlation*correlation)
		at := time.Duration(i) * step
		// A life begins anywhere: its level says nothing.
		level := 100*math.Sin(float64(i/length)) + perHour*(time.Duration(i%length)*step).Hours()
		out = append(out, point{at, i / length, level + noise})
	}
	return out
}

// TestTrendIsHonest: of series that do not grow, correlated or not, in one life or in
// several, hardly more than one in 20 gives an interval without zero.
func TestTrendIsHonest(t *testing.T) {
	const runs = 400
	for _, test := range []struct {
		n, lives    int
		correlation float64
	}{
		{1260, 1, 0}, {1260, 1, 0.9}, {1260, 1, 0.98}, {1260, 4, 0}, {1260, 4, 0.9}, {1260, 4, 0.97}, {240, 1, 0.9}, {120, 3, 0.5},
	} {
		random := rand.New(rand.NewPCG(1, 2))
		wrong, missed := 0, 0
		for range runs {
			if got := trendOf(series(random, test.n, test.lives, test.correlation, 0)); !got.known || got.low > 0 || got.high < 0 {
				wrong++
			}
			// Over its time a series of one life then grows by many times its noise.
			if got := trendOf(series(random, test.n, test.lives, test.correlation, 100)); !(got.low > 0 && got.low < 100 && got.high > 100) {
				missed++
			}
		}
		t.Logf("%+v: %.1f %% of the intervals without zero, %.1f %% without the growth", test, 100*float64(wrong)/runs, 100*float64(missed)/runs)
		if share := float64(wrong) / runs; share > 0.09 {
			t.Errorf("%+v: %.1f %% of the intervals are without zero, want 5", test, 100*share)
		}
		if share := float64(missed) / runs; share > 0.09 {
			t.Errorf("%+v: %.1f %% of the intervals are without the growth, want 5", test, 100*share)
		}
	}
}

// TestTrendOfFewPoints: what is not known is said to be unknown.
func TestTrendOfFewPoints(t *testing.T) {
	for n := range 5 {
		if got := trendOf(series(rand.New(rand.NewPCG(1, 2)), n+1, 1, 0, 0)); got.known {
			t.Errorf("%d points: %+v", n+1, got)
		}
	}
	flat := make([]point, 100)
	for i := range flat {
		flat[i] = point{time.Duration(i) * time.Second, 0, 7}
	}
	if got := trendOf(flat); got != (trend{known: true}) {
		t.Errorf("a constant: %+v", got)
	}
}

func TestStudentT(t *testing.T) {
	for degrees, want := range map[int]float64{4: 2.776, 6: 2.447, 10: 2.228, 30: 2.042, 1000: 1.962} {
		if got := studentT(degrees); math.Abs(got-want) > 0.01*want {
			t.Errorf("%d degrees of freedom: %.3f, want %.3f", degrees, got, want)
		}
	}
}
