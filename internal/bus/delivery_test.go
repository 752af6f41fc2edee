package bus

import "testing"

func TestAckNumbersAreReadAsTheyAreWritten(t *testing.T) {
	const most = "18446744073709551615"
	for _, text := range []string{"1.2.3.1763800000000000000.5", "0.0.0.0.0", most + ".1.1.1." + most} {
		var n ackNumbers
		if !n.parse(text) || string(n.append(nil)) != text {
			t.Errorf("%s: read as %v", text, n)
		}
	}
	for _, text := range []string{"", "1.2.3.4", "1.2.3.4.5.6", "1.2.3.4.", "1.2.3.4.05", "1.2..4.5", "+1.2.3.4.5", "1.2.3.4.x", "1.2.3.4." + most + "0"} {
		var n ackNumbers
		if n.parse(text) {
			t.Errorf("%q: read as %v, and is written differently", text, n)
		}
	}
}

func FuzzAckNumbers(f *testing.F) {
	f.Add("1.2.3.1763800000000000000.5")
	f.Fuzz(func(t *testing.T, text string) {
		var n ackNumbers
		if n.parse(text) && string(n.append(nil)) != text {
			t.Errorf("%q is written as %q", text, n.append(nil))
		}
	})
}
