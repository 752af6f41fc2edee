package cli

import (
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"syscall"
)

// flagUmask is what the program withholds from the permissions of the files that it makes:
// they hold the addresses of people's machines.
const flagUmask = "umask"

// defaultUmask leaves files 0600 and directories 0700.
const defaultUmask = "077"

// applyUmask sets the process's umask, which is also that of the libraries that write files:
// SQLite and the embedded NATS server.
func (in invocation) applyUmask() error {
	mask, err := in.umask()
	if err == nil {
		syscall.Umask(int(mask))
	}
	return err
}

func (in invocation) umask() (fs.FileMode, error) {
	text := in.cmd.String(flagUmask)
	mask, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mask > 0o777 || mask&0o700 != 0 {
		return 0, usagef("--%s %q: want three octal digits that withhold nothing from the owner, such as 077 or 027", flagUmask, text)
	}
	return fs.FileMode(mask), nil
}

// othersMayOpen is the warning about a data directory made by an earlier version, or by hand,
// that lets others in.
const othersMayOpen = "other users may open the data directory, which holds addresses: 'chmod -R go= DIR' keeps them out, and --umask sets who may"

// openDirectory reports whether the data directory lets others in, and its mode. What is wrong
// with the directory or the options is not reported here.
func (in invocation) openDirectory() (mode fs.FileMode, open bool) {
	mask, err1 := in.umask()
	info, err2 := os.Stat(in.cmd.String(flagDataDir))
	if err1 != nil || err2 != nil || !info.IsDir() {
		return 0, false
	}
	return info.Mode(), info.Mode()&mask != 0
}

// warnOpenDirectory logs that the data directory lets others in.
func (in invocation) warnOpenDirectory() {
	mode, open := in.openDirectory()
	log, err := in.logger(in.stderr)
	if open && err == nil { // else the command reports it
		log.Warn(othersMayOpen, slog.String("dir", in.cmd.String(flagDataDir)), slog.String("mode", mode.String()))
	}
}
