package sentry

import (
	"context"
	"database/sql"
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

// EachStoredPeer calls each with the id and the addresses of every peer of the table in a data
// directory. A sentry may be running.
func EachStoredPeer(ctx context.Context, dir string, each func(id string, at ...netip.Addr)) error {
	return withPeerTable(dir, func(db *sql.DB) error { return eachStoredPeer(ctx, db, each) })
}

func eachStoredPeer(ctx context.Context, db *sql.DB, each func(id string, at ...netip.Addr)) error {
	return readRows(ctx, db, "SELECT id, enr FROM peers", func(scan func(...any) error) error {
		var id, text string
		if err := scan(&id, &text); err != nil {
			return err
		}
		r, _ := enr.Parse(text) // without addresses if it is damaged
		each(id, r.IP4, r.IP6)
		return nil
	})
}

func withPeerTable(dir string, use func(*sql.DB) error) error {
	path := filepath.Join(dir, peersFile)
	db, err := openDB(path)
	if err == nil {
		err = errors.Join(use(db), db.Close())
	}
	if err != nil {
		return fmt.Errorf("peer table %s: %w", path, err)
	}
	return nil
}

// PurgePeerTable removes from the peer table in a data directory the peers for whose id and addresses
// gone is true, and the addresses for which it is true without an id, and counts the peers. Nothing
// of them is left in the file, also of those that a sentry has removed before. No sentry may be running.
func PurgePeerTable(ctx context.Context, dir string, gone func(id string, at ...netip.Addr) bool) (n int, err error) {
	err = withPeerTable(dir, func(db *sql.DB) error {
		n, err = purgePeers(ctx, db, gone)
		return err
	})
	return n, err
}

func purgePeers(ctx context.Context, db *sql.DB, gone func(id string, at ...netip.Addr) bool) (int, error) {
	var peers, addresses []string
	err := eachStoredPeer(ctx, db, func(id string, at ...netip.Addr) {
		if gone(id, at...) {
			peers = append(peers, id)
		}
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
	// What was removed must not stay between the rows, nor in the log beside the file.
	for _, query := range []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		if _, err := db.ExecContext(ctx, query); err != nil {
			return len(peers), err
		}
	}
	return len(peers), nil
}
