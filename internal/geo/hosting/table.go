package hosting

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// networks has the columns asn, name, type, cloud, reason. The name is only
// for the reader: networks are recognised by their number.
//
//go:embed networks.csv
var networks string

// table maps a network's number to its verdict, read at the first use.
var table = sync.OnceValue(func() map[uint32]Verdict {
	lines, err := csv.NewReader(strings.NewReader(networks)).ReadAll()
	if err != nil {
		panic(fmt.Sprintf("networks.csv: %v", err)) // a test reads the whole file
	}
	verdicts := make(map[uint32]Verdict, len(lines))
	for _, line := range lines[1:] {
		asn, err := strconv.ParseUint(line[0], 10, 32)
		if err != nil {
			panic(fmt.Sprintf("networks.csv: %v", err))
		}
		verdicts[uint32(asn)] = Verdict{Type: Type(line[2]), Cloud: line[3], Source: "table"}
	}
	return verdicts
})
