package sentry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/chainbound/valtrack/internal/eth2/enr"
)

// HasPeerTable reports whether a data directory has a sentry's peer table.
func HasPeerTable(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, peersFile))
	return err == nil
}

// PurgePeerTable removes from the peer table in a data directory the peers for whose id and addresses
// gone is true, and the addresses for which it is true without an id, and counts the peers. No
// sentry may be running.
func PurgePeerTable(ctx context.Context, dir string, gone func(id string, at ...netip.Addr) bool) (n int, err error) {
	path := filepath.Join(dir, peersFile)
	db, err := openDB(path)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, db.Close()); err != nil {
			err = fmt.Errorf("peer table %s: %w", path, err)
		}
	}()
	var peers, addresses []string
	err = readRows(ctx, db, "SELECT id, enr FROM peers", func(scan func(...any) error) error {
		var id, text string
		if err := scan(&id, &text); err != nil {
			return err
		}
		r, _ := enr.Parse(text) // without addresses if it is damaged
		if gone(id, r.IP4, r.IP6) {
			peers = append(peers, id)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	err = readRows(ctx, db, "SELECT address FROM dialled", func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		if at, err := netip.ParseAddrPort(text); err == nil && gone("", at.Addr()) {
			addresses = append(addresses, text)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for query, keys := range map[string][]string{"DELETE FROM peers WHERE id = ?": peers, "DELETE FROM dialled WHERE address = ?": addresses} {
		for _, key := range keys {
			if _, err := db.ExecContext(ctx, query, key); err != nil {
				return 0, err
			}
		}
	}
	// What was removed must not stay in the log beside the file.
	_, err = db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return len(peers), err
}
