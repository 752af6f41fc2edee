package client

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxKeyFile bounds a key's file in bytes.
const maxKeyFile = 4096

// ReadKey reads an API key from a file that has nothing else.
func ReadKey(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(data))
	if err := checkKey(key); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// checkKey refuses what no key looks like, without repeating it: it may be a secret of
// something else.
func checkKey(key string) error {
	switch {
	case key == "":
		return errors.New("it contains no key")
	case len(key) >= maxKeyFile:
		return fmt.Errorf("a key has fewer than %d characters", maxKeyFile)
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("a key is one word of ASCII characters: want only the key, on one line")
	}
	return nil
}
