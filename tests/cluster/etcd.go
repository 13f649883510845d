package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

func init() {
	// It allots two of these files before it writes a word.
	wal.SegmentSizeBytes = 8 << 20
}

// startEtcd runs etcd in this process, with a copy of the data in from, if that is given. It listens on sockets in its
// folder, which nobody else can enter. It never syncs to disk: its data does not outlive the process anyway.
func startEtcd(dir, logFile, from string) (*embed.Etcd, string, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, "", err
	}
	if from != "" {
		if err := copyData(filepath.Join(dir, "data"), from); err != nil {
			return nil, "", err
		}
	}
	socket := func(name string) url.URL { return url.URL{Scheme: "unix", Path: filepath.Join(dir, name)} }
	client, peer := socket("client.sock"), socket("peer.sock")

	c := embed.NewConfig()
	c.Name = "cloister"
	c.Dir = filepath.Join(dir, "data")
	c.UnsafeNoFsync = true
	c.ListenClientUrls = []url.URL{client}
	c.AdvertiseClientUrls = []url.URL{client}
	c.ListenPeerUrls = []url.URL{peer}
	c.AdvertisePeerUrls = []url.URL{peer}
	c.InitialCluster = c.Name + "=" + peer.String()
	c.QuotaBackendBytes = 8 << 30
	c.LogLevel = "warn"
	c.LogOutputs = []string{logFile}
	// A cluster of one has nobody to wait for: it elects itself after one or two ticks.
	c.TickMs = 50
	c.ElectionMs = 500
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, "", fmt.Errorf("start etcd: %w", err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, client.String(), nil
	case err := <-e.Err():
		return nil, "", fmt.Errorf("etcd stopped: %w", err)
	case <-time.After(30 * time.Second):
		return nil, "", fmt.Errorf("etcd was not ready within 30 s; its log is %s", logFile)
	}
}

// copyData copies what etcd stores while no etcd uses it.
func copyData(to, from string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy the data of etcd from %s: %w", from, err)
	}
	return nil
}

// saveData is copyData for a folder that is there whole or not at all.
func saveData(to, from string) error {
	part := to + ".part"
	if err := copyData(part, from); err != nil {
		return err
	}
	return os.Rename(part, to)
}

// stopEtcd gives etcd a moment; what it would still write is mostly about to be deleted.
func stopEtcd(e *embed.Etcd) error {
	done := make(chan struct{})
	go func() {
		e.Close()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(3 * time.Second):
		return errors.New("etcd did not end within 3 s")
	}
}
