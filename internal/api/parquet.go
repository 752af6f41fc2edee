package api

import (
	"context"
	"io"
	"math"

	"github.com/chainbound/valtrack/internal/dataset"
)

// writeParquet writes the nodes as dataset.NodeRow, without addresses and exact places for the
// public.
func (l *listing) writeParquet(ctx context.Context, w io.Writer, v *view) error {
	out := dataset.NewStream[dataset.NodeRow](w)
	if err := l.each(ctx, v, func(n *node) error { return out.Write(n.row(v.src.Network, l.full)) }); err != nil {
		return err
	}
	return out.Close()
}

// placeColumns are those whose values depend on who asks.
var placeColumns = map[string]*column{
	"city": columnNamed("city"), "region": columnNamed("region"), "latitude": columnNamed("latitude"), "longitude": columnNamed("longitude"),
	"ip": columnNamed("ip"), "port": columnNamed("port"),
}

func (n *node) row(network string, full bool) dataset.NodeRow {
	row := dataset.NodeRow{
		ID: n.ID, Network: network, NodeID: known(n.nodeID), CustodyGroupCount: n.custody(), Observations: int64(n.Observations),
		FirstSeen: known(n.FirstSeen), LastSeen: known(n.LastSeen), LastOutcome: known(n.LastOutcome),
		Direction: known(n.Direction), Transport: known(n.Transport),
	}
	if n.ToldClient() > 0 {
		row.Client, row.ClientRelease, row.ClientVersion = new(string(n.Client.Kind)), known(n.release), new(n.agent())
		row.OS, row.Arch = known(n.Client.OS), known(n.Client.Arch)
	}
	if row.ForkDigest = stringOf(n.forkDigest()); n.handshaken() {
		row.LastEpoch = new(uint64(n.LastEpoch))
	}
	if n.MetaDataAt > 0 {
		row.LongLivedSubnets = dataset.List(n.Attnets.Subnets())
	}
	row.NextForkVersion, row.NextForkEpoch, row.NFD = stringOf(n.Record.NextForkVersion), n.announcedEpoch(), stringOf(n.Record.NFD)
	if e := n.Estimate; e != nil {
		row.Validators, row.ValidatorsLow, row.ValidatorsHigh = new(int64(e.Median)), &e.Low, &e.High
		row.ValidatorsMean, row.PValidator, row.EpochsWatched = &e.Mean, &e.PValidator, &e.EpochsWatched
		row.ValidatorsSD, row.ValidatorsShared = new(math.Sqrt(e.Variance)), &e.Shared
		row.Since = known(e.Since)
		if e.Stake.Known {
			row.StakeETH, row.StakeLow, row.StakeHigh = &e.Stake.Median, &e.Stake.Low, &e.Stake.High
		}
		row.AllSubnets, row.Trust, row.Flags = &e.AllSubnets, new(e.Trust.String()), append([]string{}, e.Flags.Names()...)
		if n.counts() {
			row.Weight = &n.weight
		}
	}
	row.Country, row.CountryCode, row.ASName = known(n.place.country), known(n.place.code), known(n.place.asName)
	row.ASN, row.Hosting, row.Cloud = known(n.place.asn), known(n.place.hosting), known(n.place.cloud)
	row.GeoSource = known(n.place.source)
	cell := func(name string) value { return placeColumns[name].at(n, full) }
	row.Region, row.City = cell("region").text(), cell("city").text()
	row.Latitude, row.Longitude = cell("latitude").float(), cell("longitude").float()
	if full {
		row.Multiaddr, row.ENR = known(n.Multiaddr), known(n.Record.ENR)
		if ip, port := n.address(); ip.IsValid() {
			row.IP, row.Port = new(ip.String()), new(int32(port))
		}
		row.IP6 = known(n.Record.IP6)
	}
	return row
}
