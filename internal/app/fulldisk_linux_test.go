package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/chainbound/valtrack/internal/estimate"
	"github.com/chainbound/valtrack/internal/eth2/network"
	"github.com/chainbound/valtrack/internal/sentry"
	"github.com/chainbound/valtrack/internal/tracker"
)

// A first start on a full disk leaves no state file that later starts refuse: whatever room
// there is, each is whole or missing, and the next start with room works.
func TestFirstStartOnAFullDisk(t *testing.T) {
	net, err := network.Load("mainnet")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	for _, pages := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 30, 40, 50} {
		t.Run(fmt.Sprint(pages, " pages"), func(t *testing.T) {
			dir := t.TempDir()
			mount := func(flags uintptr, pages int) error {
				return syscall.Mount("tmpfs", dir, "tmpfs", flags, fmt.Sprintf("size=%d", pages*os.Getpagesize()))
			}
			if err := mount(0, pages); errors.Is(err, syscall.EPERM) {
				t.Skip("needs the right to mount: ", err)
			} else if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
			start := func() error {
				use := DirUse{Sentry: true, Consumer: true, Network: net}
				d, err := openDataDir(dir, use)
				if err != nil {
					return err
				}
				_, err1 := durableName(ConsumerConfig{DataDir: dir})
				_, err2 := sentry.LoadIdentity(dir)
				store, err3 := sentry.OpenStore(dir, net, 0, log)
				if err3 == nil {
					store.Close()
				}
				tr, err4 := tracker.Open(t.Context(), tracker.Config{Dir: dir, Network: net.Name, Log: log, Params: estimate.Params{Clock: net.Clock, ActiveValidators: 1}})
				if err4 == nil {
					err4 = tr.Close()
				}
				return errors.Join(err1, err2, err3, err4, d.close())
			}
			first := start()
			if pages == 1 && !errors.Is(first, syscall.ENOSPC) {
				t.Errorf("the first start: %v", first)
			}
			for _, name := range []string{networkFile, consumerIDFile, "sentry.json", "sentry.key"} {
				if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Size() == 0 {
					t.Errorf("%s is empty", name)
				}
			}
			if first != nil && isConfigError(first) && !errors.Is(first, syscall.ENOSPC) {
				t.Errorf("the first start blames the user: %v", first)
			}
			if err := mount(syscall.MS_REMOUNT, 1024); err != nil {
				t.Fatal(err)
			}
			if err := start(); err != nil {
				t.Errorf("the start with room, after %v: %v", first, err)
			}
		})
	}
}
