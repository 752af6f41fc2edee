package report

import (
	"github.com/chainbound/valtrack/internal/dataset"
)

// Row is the node as a row of a file.
func (n *Node) Row() dataset.NodeRow {
	row := dataset.NodeRow{
		ID: n.ID, Network: n.network, NodeID: known(n.NodeID),
		CustodyGroupCount: n.CustodyGroupCount, CustodyToldBy: known(n.CustodyToldBy), LongLivedSubnets: n.LongLivedSubnets,
		Observations: int64(n.Observations), FirstSeen: known(n.FirstSeen), LastSeen: known(n.LastSeen), LastOutcome: known(n.LastOutcome),
		IP: n.IP, IP6: n.IP6, Port: n.Port, ForkDigest: n.ForkDigest, NextForkVersion: n.NextForkVersion, NextForkEpoch: n.NextForkEpoch,
		NFD: n.NFD, ENR: known(n.ENR),
	}
	if n.agentAt > 0 {
		row.Client, row.ClientRelease, row.OS, row.Arch = &n.Client, n.ClientRelease, n.OS, n.Arch
		if !n.agentHidden {
			row.ClientVersion = &n.Agent
		}
	}
	if n.handshake > 0 {
		row.AllSubnets, row.ShortLivedSubnets, row.LastEpoch = &n.AllSubnets, n.ShortLivedSubnets, &n.LastEpoch
		row.Direction, row.Transport, row.Multiaddr = known(n.Direction), known(n.Transport), known(n.Multiaddr)
	}
	row.Country, row.CountryCode, row.Region, row.City, row.Latitude, row.Longitude = n.Country, n.CountryCode, n.Region, n.City, n.Latitude, n.Longitude
	row.ASN, row.ASName, row.Hosting, row.Cloud, row.GeoSource = n.ASN, n.ASName, n.Hosting, n.Cloud, n.GeoSource
	if e := n.Estimated; e != nil {
		row.Validators = new(int64(e.Validators))
		row.ValidatorsLow, row.ValidatorsHigh, row.ValidatorsMean, row.PValidator = &e.ValidatorsLow, &e.ValidatorsHigh, &e.ValidatorsMean, &e.PValidator
		row.StakeETH, row.StakeLow, row.StakeHigh, row.EpochsWatched = e.StakeETH, e.StakeLow, e.StakeHigh, &n.EpochsWatched
		row.ValidatorsSD, row.ValidatorsShared = &e.SD, e.Shared
		row.Trust, row.Flags = e.Trust, e.Flags
		row.Weight, row.Since = n.Weight, e.Since
	}
	return row
}

// known is nil for the zero value.
func known[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
