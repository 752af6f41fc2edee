package site

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chainbound/valtrack/internal/buildinfo"
	"github.com/chainbound/valtrack/internal/dashboard"
	"github.com/chainbound/valtrack/internal/diskio"
)

const (
	indexFile = "index.html"
	// manifestFile names the newest update. It is written last.
	manifestFile = "site.json"
	lockFile     = ".site.lock"
	dataDir      = "data"
	assetsDir    = "assets"
	stableDir    = "api/v1"

	// versionLayout is the time of an update, the name of its directory.
	versionLayout = "20060102T150405.000Z"
	// assetsKept is for how long files of pages of earlier programs are kept, for who has one open.
	assetsKept = 7 * 24 * time.Hour

	dirMode, fileMode = 0o755, 0o644
)

// ErrForeign is returned for a directory with files of something else.
var ErrForeign = errors.New("it has files that do not belong to a valtrack site")

// Manifest is the content of site.json.
type Manifest struct {
	// Version is the directory of the newest update, below data.
	Version string `json:"version"`
	Made    int64  `json:"made"` // Unix milliseconds
	// EveryMS is the time between updates; 0 when there will be no other one by itself.
	EveryMS int64 `json:"every_ms"`
	// Program is the version and commit of the program that made the update.
	Program string `json:"program"`
}

// Result says what was written.
type Result struct {
	Dir   string `json:"dir"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
}

// Write updates the site in a directory, which it makes if it is missing. Readers see the update
// before or this one, and nothing in between: the answers of an update are in a directory of its
// own, and site.json, which names it, is replaced last. The update before is kept for pages that
// are being loaded. After an error readers see the update before.
func Write(ctx context.Context, dir string, api API, every time.Duration) (Result, error) {
	if err := prepare(dir); err != nil {
		return Result{}, err
	}
	lock, err := diskio.TakeLock(filepath.Join(dir, lockFile))
	if err != nil {
		return Result{}, err
	}
	defer lock.Close()
	before, err := readManifest(dir)
	if err != nil {
		return Result{}, err
	}
	now := time.Now()
	w := &writer{dir: dir, result: Result{Dir: dir}}
	next := Manifest{Version: now.UTC().Format(versionLayout), Made: now.UnixMilli(), EveryMS: every.Milliseconds(), Program: buildinfo.Read().String()}
	if err := w.update(ctx, api, now, next); err != nil {
		return Result{}, err
	}
	return w.result, removeOld(dir, now, before.Version, next.Version)
}

// prepare makes the directory, and refuses one that has something else in it.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == manifestFile || e.Name() == lockFile }) {
		return nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") { // such as .git of a host that publishes a repository
			return fmt.Errorf("%s: %w (%s)", dir, ErrForeign, e.Name())
		}
	}
	return nil
}

// readManifest is zero where there is none. One that cannot be read is as good as none: it will
// be replaced.
func readManifest(dir string) (m Manifest, err error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil || json.Unmarshal(text, &m) != nil {
		return Manifest{}, err
	}
	return m, nil
}

// writer writes one update.
type writer struct {
	dir    string
	result Result
}

// update writes an update. Until readers are sent to it, what it wrote of the answers is removed
// after an error: updates that fail one after another must not fill the disk.
func (w *writer) update(ctx context.Context, api API, now time.Time, next Manifest) error {
	data := filepath.Join(w.dir, dataDir, next.Version)
	if err := w.beforeManifest(ctx, api, now, data); err != nil {
		return errors.Join(err, os.RemoveAll(data))
	}
	text, err := json.Marshal(next)
	if err == nil {
		err = w.write(filepath.Join(w.dir, manifestFile), append(text, '\n'))
	}
	if err == nil {
		return nil
	}
	// It may be in place, though not known to be on the disk.
	if in, unread := readManifest(w.dir); unread == nil && in.Version != next.Version {
		err = errors.Join(err, os.RemoveAll(data))
	}
	return err
}

// beforeManifest writes all that an update has but the manifest, which sends readers to it.
func (w *writer) beforeManifest(ctx context.Context, api API, now time.Time, data string) error {
	if err := os.MkdirAll(data, dirMode); err != nil {
		return err
	}
	stable := map[string][]byte{}
	err := api.answers(ctx, now, func(name string, content []byte) error {
		if name == snapshotFile || name == seriesFile {
			stable[name] = content
		}
		return w.write(filepath.Join(data, name), content)
	})
	if err != nil {
		return err
	}
	if err := w.writePage(); err != nil {
		return err
	}
	for name, content := range stable {
		if err := w.write(filepath.Join(w.dir, stableDir, name), content); err != nil {
			return err
		}
	}
	return nil
}

// writePage writes the page, after the files that it loads.
func (w *writer) writePage() error {
	var index []byte
	for _, f := range dashboard.Files() {
		content, err := f.Open()
		if err != nil {
			return err
		}
		if f.Name == indexFile {
			index = content
			continue
		}
		if err := w.write(filepath.Join(w.dir, filepath.FromSlash(f.Name)), content); err != nil {
			return err
		}
	}
	page, err := staticPage(index)
	if err != nil {
		return err
	}
	return w.write(filepath.Join(w.dir, indexFile), page)
}

// staticPage is the page with what makes it read files, and with its policy, which a file server
// does not send. In a page, frame-ancestors is not allowed.
func staticPage(index []byte) ([]byte, error) {
	const head = "<head>"
	if !bytes.Contains(index, []byte(head)) {
		return nil, errors.New("the page has no head")
	}
	policy, _, _ := strings.Cut(dashboard.Policy, "; frame-ancestors")
	added := head + "\n    <meta http-equiv=\"Content-Security-Policy\" content=\"" + policy + "\" />\n    <meta name=\"valtrack-site\" content=\"" + manifestFile + "\" />"
	return bytes.Replace(index, []byte(head), []byte(added), 1), nil
}

// write replaces a file, unless it has this content already.
func (w *writer) write(path string, content []byte) error {
	w.result.Files++
	w.result.Bytes += int64(len(content))
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return err
	}
	return diskio.ReplaceFile(path, content, fileMode)
}

var versionName = regexp.MustCompile(`^\d{8}T\d{6}\.\d{3}Z$`)

// removeOld removes earlier updates, but for the ones to keep, and old files of other pages.
func removeOld(dir string, now time.Time, keep ...string) error {
	var errs []error
	updates, err := os.ReadDir(filepath.Join(dir, dataDir))
	errs = append(errs, err)
	for _, e := range updates {
		if versionName.MatchString(e.Name()) && !slices.Contains(keep, e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, dataDir, e.Name())))
		}
	}
	var current []string
	for _, f := range dashboard.Files() {
		current = append(current, f.Name)
	}
	assets, err := os.ReadDir(filepath.Join(dir, assetsDir))
	errs = append(errs, err)
	for _, e := range assets {
		info, err := e.Info()
		if err == nil && now.Sub(info.ModTime()) > assetsKept && !slices.Contains(current, assetsDir+"/"+e.Name()) {
			errs = append(errs, os.Remove(filepath.Join(dir, assetsDir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
