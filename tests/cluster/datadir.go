package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	dirPrefix = "cloister-cluster-"
	lockName  = "lock"
	shm       = "/dev/shm"
	// etcd, its log of a long benchmark, and the logs fit in this.
	roomy = 2 << 30
)

// dataDir is a folder of one cluster. Whoever holds its lock file is alive; the kernel lets go of it with the process.
type dataDir struct {
	path string
	lock *os.File
}

// newDataDir sweeps what dead clusters left, then makes a folder, in memory where there is room.
func newDataDir() (*dataDir, error) {
	sweep(shm)
	sweep(os.TempDir())
	base := os.TempDir()
	if free(shm) >= roomy {
		base = shm
	}
	path, err := os.MkdirTemp(base, dirPrefix)
	if err != nil {
		return nil, fmt.Errorf("make a data folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName+".new"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a lock file: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	// It appears under its name only when it is locked, so that a sweep never takes a newborn for dead.
	if err := os.Rename(lock.Name(), filepath.Join(path, lockName)); err != nil {
		return nil, fmt.Errorf("name the lock file: %w", err)
	}
	return &dataDir{path: path, lock: lock}, nil
}

func (d *dataDir) file(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

func (d *dataDir) remove() error {
	// Something may still be writing for a moment: try again before giving up.
	var err error
	for range 20 {
		if err = os.RemoveAll(d.path); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.lock.Close()
	return err
}

func free(path string) uint64 {
	var s syscall.Statfs_t
	if syscall.Statfs(path, &s) != nil {
		return 0
	}
	return s.Bavail * uint64(s.Bsize)
}

// sweep removes the folders in base that belong to this user and whose owner is dead.
func sweep(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || !strings.HasPrefix(e.Name(), dirPrefix) {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() {
			continue
		}
		path := filepath.Join(base, e.Name())
		if !abandoned(path, info.ModTime()) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			fmt.Fprintf(os.Stderr, "cluster: cannot remove the data of a dead cluster: %v\n", err)
		}
	}
}

func abandoned(path string, modified time.Time) bool {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		// Its owner died before it locked it, or is just about to.
		return time.Since(modified) > time.Minute
	}
	if err != nil {
		return false
	}
	defer lock.Close()
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
