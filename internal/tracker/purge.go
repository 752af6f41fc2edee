package tracker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// EachPeer calls peer with every peer in a data directory's database; without a database
// there is none.
func EachPeer(ctx context.Context, dir string, peer func(*Peer)) error {
	if !exists(dir) {
		return nil
	}
	return inReadOnly(ctx, dir, func(db queryer) error {
		peers := map[string]*Peer{}
		if err := loadPeers(ctx, db, peers); err != nil {
			return damaged(ctx, err)
		}
		for _, p := range peers {
			peer(p)
		}
		return nil
	})
}

// Purge removes the peers that gone reports from a data directory's database, and from the
// pages of its file, and counts them. Totals and counts of all peers together stay. It is
// durable when it returns nil; without a database there is nothing to do. No consumer may
// be running.
func Purge(ctx context.Context, dir string, gone func(*Peer) bool) (removed int, err error) {
	if err := removeFile(filepath.Join(dir, rebuilt)); err != nil { // of a rebuild that was killed
		return 0, err
	}
	if !exists(dir) {
		return 0, nil
	}
	path := filepath.Join(dir, File)
	s, err := openStore(ctx, path)
	if err != nil {
		return 0, fmt.Errorf("tracker database %s: %w", path, err)
	}
	removed, err = s.purge(ctx, gone)
	if err = errors.Join(err, s.db.Close()); err != nil {
		return 0, fmt.Errorf("tracker database %s: %w", path, err)
	}
	return removed, nil
}

func (s *store) purge(ctx context.Context, gone func(*Peer) bool) (removed int, err error) {
	peers := map[string]*Peer{}
	if err := loadPeers(ctx, s.db, peers); err != nil {
		return 0, damaged(ctx, err)
	}
	d := newDirty()
	for id, p := range peers {
		if gone(p) {
			d.peers[id] = true
			delete(peers, id)
		}
	}
	// Deleted rows are overwritten, also those that an earlier delete left in free pages;
	// the write-ahead log with them goes when the database is closed.
	if _, err := s.db.ExecContext(ctx, "PRAGMA secure_delete = ON"); err != nil {
		return 0, err
	}
	if len(d.peers) > 0 {
		if err := s.write(ctx, d, peers, nil); err != nil {
			return 0, err
		}
	}
	_, err = s.db.ExecContext(ctx, "VACUUM")
	return len(d.peers), err
}
