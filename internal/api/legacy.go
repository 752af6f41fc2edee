package api

import (
	"bufio"
	"context"
	"io"
	"math"
	"net/http"
)

// legacyNode is a node as the earlier program listed it. Strings are empty and numbers 0 where
// something is not known, or needs a key.
type legacyNode struct {
	PeerID            string  `json:"peer_id"`
	ENR               string  `json:"enr"`
	Multiaddr         string  `json:"multiaddr"`
	IP                string  `json:"ip"`
	Port              int     `json:"port"`
	LastSeen          int64   `json:"last_seen"`
	LastEpoch         uint64  `json:"last_epoch"`
	ClientVersion     string  `json:"client_version"`
	ValidatorCount    int     `json:"validator_count"`
	Accuracy          number  `json:"validator_count_accuracy"`
	TotalObservations uint64  `json:"total_observations"`
	Hostname          string  `json:"hostname"`
	City              string  `json:"city"`
	Region            string  `json:"region"`
	Country           string  `json:"country"`
	Latitude          float64 `json:"latitude"`
	Longitude         float64 `json:"longitude"`
	PostalCode        string  `json:"postal_code"`
	ASN               string  `json:"asn"`
	ASNOrganization   string  `json:"asn_organization"`
	ASNType           string  `json:"asn_type"`
}

// listValidators answers /validators: the nodes with validators, by id.
func listValidators(s *Server, r *request) (answer, *problem) {
	from, to := r.span()
	if p := r.done(); p != nil {
		return answer{}, p
	}
	a := answer{contentType: typeJSON, etag: r.etag(s)}
	if matches(r.Header.Get("If-None-Match"), a.etag) || r.Method == http.MethodHead {
		return a, nil
	}
	release, p := s.export(r, false)
	if p != nil {
		return answer{}, p
	}
	view, full := r.view, r.caller.full
	a.etag, a.release = r.etag(s), release
	a.stream = func(ctx context.Context, w io.Writer) error {
		out := bufio.NewWriterSize(w, 32<<10)
		separator := "["
		for i := range view.nodes {
			n := &view.nodes[i]
			if i%256 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if n.Estimate == nil || n.Estimate.Median == 0 || n.LastSeen < from || n.LastSeen > to {
				continue
			}
			out.WriteString(separator)         //nolint:errcheck // Flush has the error
			out.Write(marshal(n.legacy(full))) //nolint:errcheck // Flush has the error
			separator = ","
		}
		if separator == "[" {
			out.WriteString("[") //nolint:errcheck // Flush has the error
		}
		out.WriteString("]\n") //nolint:errcheck // Flush has the error
		return out.Flush()
	}
	return a, nil
}

func (n *node) legacy(full bool) legacyNode {
	cell := func(name string) value { return placeColumns[name].at(n, full) }
	e := n.Estimate
	out := legacyNode{
		PeerID: n.ID, LastSeen: n.LastSeen, LastEpoch: uint64(n.LastEpoch), ClientVersion: n.agent(),
		ValidatorCount: e.Median, TotalObservations: n.Observations,
		Accuracy: number(math.Max(0, 1-(e.High-e.Low)/2/float64(e.Median))),
		City:     cell("city").s, Region: cell("region").s, Country: n.place.country, Latitude: cell("latitude").f, Longitude: cell("longitude").f,
		ASNOrganization: n.place.asName, ASNType: n.place.hosting,
	}
	if n.place.asn != 0 {
		out.ASN = "AS" + integer(n.place.asn).cell()
	}
	if full {
		out.ENR, out.Multiaddr, out.IP, out.Port = n.Record.ENR, n.Multiaddr, cell("ip").s, int(cell("port").n)
	}
	return out
}
