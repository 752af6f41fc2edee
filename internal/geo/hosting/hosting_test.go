package hosting

import (
	"encoding/csv"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// Names as other databases write them: organisations and AS names.
func TestClassify(t *testing.T) {
	for _, test := range []struct {
		asn  uint32
		name string
		want Verdict
	}{
		{24940, "", Verdict{Hosting, "hetzner", "table"}},
		{24940, "Stadtwerke Kabel", Verdict{Hosting, "hetzner", "table"}}, // the number decides
		{0, "HETZNER-AS", Verdict{Hosting, "hetzner", "rule:hetzner"}},
		{0, "AMAZON-02", Verdict{Hosting, "aws", "rule:amazon"}},
		{0, "MICROSOFT-CORP-MSN-AS-BLOCK", Verdict{Hosting, "azure", "rule:microsoft"}},
		{0, "GOOGLE-FIBER", Verdict{ISP, "", "rule:google fiber"}},
		{0, "GOOGLE-CLOUD-PLATFORM", Verdict{Hosting, "gcp", "rule:google"}},
		{0, "COMCAST-7922", Verdict{ISP, "", "rule:comcast"}},
		{0, "LeaseWeb Netherlands B.V.", Verdict{Hosting, "leaseweb", "rule:leaseweb"}},
		{64512, "Example Data-Centre Ltd", Verdict{Hosting, "", "rule:data cent"}},
		{64512, "Example Telecom Cloud", Verdict{Hosting, "", "rule:cloud"}}, // the more telling word
		{64512, "Universität Beispiel", Verdict{Education, "", "rule:universi"}},
		{64512, "Servicios de Comunicación", Verdict{ISP, "", "rule:comunica"}},
		{64512, "Stadtnetz Beispiel GmbH", Verdict{Type: Unknown}},
		{64512, "Hospital of Example", Verdict{Business, "", "rule:hospital"}}, // not "host"
		{64512, "Grand Hotel", Verdict{Business, "", "rule:hotel"}},            // not "tel"
		{0, "", Verdict{Type: Unknown}},
		{0, "\xff\x00 \xfe", Verdict{Type: Unknown}},
		{64512, strings.Repeat("ä", 1000) + " hosting", Verdict{Type: Unknown}}, // beyond maxName
	} {
		if got := Classify(test.asn, test.name); got != test.want {
			t.Errorf("AS%d %q: got %+v, want %+v", test.asn, test.name, got, test.want)
		}
	}
}

// The table is read at the first use, so that a mistake in it has to fail here.
func TestTable(t *testing.T) {
	lines, err := csv.NewReader(strings.NewReader(networks)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	before := 0
	for _, line := range lines[1:] {
		asn, err := strconv.Atoi(line[0])
		if err != nil || asn <= before {
			t.Errorf("%v: not a number above the one before, AS%d", line, before)
		}
		before = asn
		kind, cloud := Type(line[2]), line[3]
		if !slices.Contains([]Type{ISP, Hosting, Business, Education}, kind) || line[1] == "" || line[4] == "" {
			t.Errorf("%v: no such type, or without name or reason", line)
		}
		if cloud != "" && (kind != Hosting || !regexp.MustCompile(`^[a-z0-9]+$`).MatchString(cloud)) {
			t.Errorf("%v: a cloud is a word in lower case, of a network that is hosting", line)
		}
	}
	if len(table()) != len(lines)-1 {
		t.Errorf("the table has %d networks, want %d", len(table()), len(lines)-1)
	}
}

// A rule that an earlier one always precedes would never decide.
func TestEveryRuleDecides(t *testing.T) {
	for _, r := range rules() {
		example := string(r.pattern)
		if !strings.HasPrefix(example, " ") {
			example = "x" + example
		}
		if !strings.HasSuffix(example, " ") {
			example += "x"
		}
		if got := classifyName(example); got != r.verdict {
			t.Errorf("%q: got %+v, want %+v", example, got, r.verdict)
		}
	}
}

func TestClassifyDoesNotAllocate(t *testing.T) {
	table()
	rules()
	for _, name := range []string{"Hetzner Online GmbH", "Stadtnetz Beispiel GmbH", strings.Repeat("ä", 1000)} {
		if n := testing.AllocsPerRun(100, func() { Classify(64512, name) }); n != 0 {
			t.Errorf("%.20q: %v allocations, want none", name, n)
		}
	}
}

// Names come from files that users bring.
func FuzzClassify(f *testing.F) {
	for _, name := range []string{"", "Hetzner Online GmbH", "\xff", "ÄÖÜ a.s.", strings.Repeat("İ", 200)} {
		f.Add(uint32(0), name)
	}
	f.Fuzz(func(t *testing.T, asn uint32, name string) {
		v := Classify(asn, name)
		if (v.Type == Unknown) != (v.Source == "") {
			t.Errorf("%q: %+v", name, v)
		}
		words := normalise(nil, name)
		if len(words) > maxName+utf8.UTFMax+1 || words[0] != ' ' || words[len(words)-1] != ' ' {
			t.Errorf("%q became %q", name, words)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	for _, c := range []struct {
		name string
		asn  uint32
	}{{"table", 24940}, {"rules", 0}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Classify(c.asn, "Stadtnetz Beispiel GmbH & Co. KG")
			}
		})
	}
}
