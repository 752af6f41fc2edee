package trend

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// series are values of a noise whose neighbours are correlated, and which grows.
func series(random *rand.Rand, n, lives int, correlation, perHour float64) []Point {
	const step = 10 * time.Second
	var out []Point
	noise, length := random.NormFloat64(), n/lives
	for i := range n {
		if noise *= correlation; i%length == 0 {
			noise = 0
		}
		noise += random.NormFloat64() * math.Sqrt(1-correlation*correlation)
		at := time.Duration(i) * step
		// A life begins anywhere: its level says nothing.
		level := 100*math.Sin(float64(i/length)) + perHour*(time.Duration(i%length)*step).Hours()
		out = append(out, Point{at, i / length, level + noise})
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
			if got := Of(series(random, test.n, test.lives, test.correlation, 0)); !got.Known || got.Low > 0 || got.High < 0 {
				wrong++
			}
			// Over its time a series of one life then grows by many times its noise.
			if got := Of(series(random, test.n, test.lives, test.correlation, 100)); !(got.Low > 0 && got.Low < 100 && got.High > 100) {
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
		if got := Of(series(rand.New(rand.NewPCG(1, 2)), n+1, 1, 0, 0)); got.Known {
			t.Errorf("%d points: %+v", n+1, got)
		}
	}
	flat := make([]Point, 100)
	for i := range flat {
		flat[i] = Point{time.Duration(i) * time.Second, 0, 7}
	}
	if got := Of(flat); got != (Trend{Known: true}) {
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
