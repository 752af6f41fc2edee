package network

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// maxMagic is how much of a file shows what it is, in bytes.
const maxMagic = 512

// readFile reads a whole text file of at most limit bytes, without its byte order mark.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := foreign(data); err != nil {
		return nil, &ValueError{File: name, Err: err}
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: is over %d bytes", name, limit)
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), nil
}

// foreign says what stands in a file's place after a download that went wrong; nil when it
// is none of that.
func foreign(data []byte) error {
	head := bytes.TrimPrefix(data[:min(len(data), maxMagic)], []byte("\xef\xbb\xbf"))
	head = bytes.TrimLeft(head, " \t\r\n")
	for _, kind := range []struct{ begins, what string }{
		{"version https://git-lfs.github.com/spec/", "is a Git LFS pointer and not the file itself: fetch it with 'git lfs pull'"},
		{"<!doctype", "is an HTML page: download the raw file"},
		{"<html", "is an HTML page: download the raw file"},
		{"<?xml", "is an XML page: download the raw file"},
		{"\xff\xfe", "is UTF-16 text: save it as UTF-8"},
		{"\xfe\xff", "is UTF-16 text: save it as UTF-8"},
		{"\x1f\x8b\x08", "is compressed with gzip: unpack it"},
		{"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it"},
		{"\xff\x06\x00\x00snappy", "is compressed with Snappy: unpack it"},
		{"pk\x03\x04", "is a ZIP archive: unpack it"},
	} {
		if len(head) >= len(kind.begins) && lowerASCII(head[:len(kind.begins)]) == kind.begins {
			return errors.New(kind.what)
		}
	}
	return nil
}

// lowerASCII leaves bytes that are not ASCII as they are, unlike bytes.ToLower.
func lowerASCII(b []byte) string {
	lower := bytes.Clone(b)
	for i, c := range lower {
		if c >= 'A' && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}
