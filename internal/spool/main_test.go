package spool

import (
	"fmt"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/chainbound/valtrack/internal/eth2"
	"github.com/chainbound/valtrack/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func discovered(n int) *event.PeerDiscovered {
	return &event.PeerDiscovered{
		Common: event.Common{Network: "n", CrawlerID: "c", Timestamp: 1763800000000},
		ENR:    "enr:-", ID: "16U", NodeID: eth2.NodeID{1}, Seq: uint64(n),
	}
}

func visit(n int) *event.VisitEnded {
	return &event.VisitEnded{
		Common:  event.Common{Network: "n", CrawlerID: "c", Timestamp: 1763800000000},
		VisitID: fmt.Sprint("v", n), ID: "16U", Started: 1763800000000, Ended: 1763800000000, Outcome: event.OutcomeOK,
	}
}
