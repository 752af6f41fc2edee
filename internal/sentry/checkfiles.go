package sentry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// CheckFiles reports why LoadIdentity or OpenStore would refuse a data directory, without
// changing anything. A damaged peer table is no reason, nor is one of another network:
// OpenStore keeps those aside.
func CheckFiles(dir string) error {
	if err := checkIdentity(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, peersFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "mode=ro"}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return fmt.Errorf("peer table %s: %w", path, err)
	}
	_, err = checkHead(context.Background(), db, networkID{})
	if err := errors.Join(err, db.Close()); errors.Is(err, errNewerSchema) {
		return fmt.Errorf("peer table %s: %w", path, err)
	}
	return nil
}

func checkIdentity(dir string) error {
	path := filepath.Join(dir, keyFile)
	if _, err := os.Stat(path); err == nil {
		if _, err := readKey(path); err != nil {
			return err
		}
	}
	_, err := loadStored(filepath.Join(dir, identityFile))
	return err
}
