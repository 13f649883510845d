package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// startEtcd runs etcd in this process. It listens on sockets in its folder, which nobody else can enter. It never
// syncs to disk: its data does not outlive the process anyway.
func startEtcd(dir, logFile string) (*embed.Etcd, string, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, "", err
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
	// A cluster of one has nobody to wait for: it elects itself at once.
	c.TickMs = 10
	c.ElectionMs = 100
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

// stopEtcd gives etcd a moment; what it would still write is about to be deleted.
func stopEtcd(e *embed.Etcd) {
	done := make(chan struct{})
	go func() {
		e.Close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
	}
}
