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
		return 0, usagef("--%s %q: want three octal digits that leave the owner everything, such as 077 or 027", flagUmask, text)
	}
	return fs.FileMode(mask), nil
}

// warnOpenDirectory logs that a data directory made by an earlier version, or by hand, lets
// others in.
func (in invocation) warnOpenDirectory() {
	dir := in.cmd.String(flagDataDir)
	mask, err1 := in.umask()
	log, err2 := in.logger(in.stderr)
	info, err3 := os.Stat(dir)
	if err1 != nil || err2 != nil || err3 != nil || info.Mode().Perm()&mask == 0 {
		return // what is wrong with them, the command reports
	}
	log.Warn("other users may open the data directory, which holds addresses: 'chmod -R go= DIR' keeps them out, --umask says who may",
		slog.String("dir", dir), slog.String("mode", info.Mode().Perm().String()))
}
