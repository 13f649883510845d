package main

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// cluster is everything that must be gone in the end.
type cluster struct {
	data       *dataDir
	logDir     string
	kubeconfig string
	saveData   string
	etcd       *embed.Etcd
	children   []*component
	// stop is closed when somebody wants the cluster gone; died carries the name of a component that ended by itself.
	stop chan struct{}
	died chan string
}

// report is the line on standard output.
type report struct {
	Server     string `json:"server"`
	Kubeconfig string `json:"kubeconfig"`
	CACert     string `json:"caCert"`
	CAKey      string `json:"caKey"`
	DataDir    string `json:"dataDir"`
	LogDir     string `json:"logDir"`
	PID        int    `json:"pid"`
}

func run(o options) error {
	if o.detached {
		// Out of the terminal's session: neither its Ctrl-C nor its end reaches us. An error means that we lead one already.
		_, _ = syscall.Setsid()
	}
	c := &cluster{saveData: o.saveData, stop: make(chan struct{}), died: make(chan string, len(commands))}
	c.listen(o.detached)

	data, err := newDataDir()
	if err != nil {
		return err
	}
	c.data = data
	err = c.serve(o)
	if errors.Is(err, errStopped) {
		err = nil
	}
	return errors.Join(err, c.tearDown())
}

// listen turns signals, and the end of standard input, into the end of the cluster.
func (c *cluster) listen(detached bool) {
	end := sync.OnceFunc(func() { close(c.stop) })
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if detached {
		signal.Ignore(syscall.SIGHUP)
	} else {
		signal.Notify(signals, syscall.SIGHUP)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			end()
		}()
	}
	go func() {
		<-signals
		end()
	}()
}

func (c *cluster) serve(o options) error {
	c.logDir = o.logDir
	if c.logDir == "" {
		c.logDir = c.data.file("logs")
	}
	pki := c.data.file("pki")
	for _, dir := range []string{c.logDir, pki} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	port, err := reservePort()
	if err != nil {
		return err
	}
	defer port.release()
	server := fmt.Sprintf("https://127.0.0.1:%d", port.number)
	if err := c.writeCredentials(pki, server); err != nil {
		return fmt.Errorf("make the certificates: %w", err)
	}

	var etcdURL string
	if c.etcd, etcdURL, err = startEtcd(c.data.file("etcd"), filepath.Join(c.logDir, "etcd.log"), o.data); err != nil {
		return err
	}
	flags, err := apiServerFlags(pki, etcdURL, port.number, o)
	if err != nil {
		return err
	}
	if err := c.start("kube-apiserver", flags); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if err := c.waitForAPI(client); err != nil {
		return err
	}
	if err := c.start("kube-controller-manager", controllerManagerFlags(pki, c.data.file("plugins"), c.data.file("controller-manager.kubeconfig"))); err != nil {
		return err
	}
	if err := c.start("kube-scheduler", schedulerFlags(c.data.file("scheduler.kubeconfig"))); err != nil {
		return err
	}
	if err := c.waitForControllers(client); err != nil {
		return err
	}

	line, err := json.Marshal(report{
		Server: server, Kubeconfig: c.kubeconfig,
		CACert: filepath.Join(pki, "ca.crt"), CAKey: filepath.Join(pki, "ca.key"),
		DataDir: c.data.path, LogDir: c.logDir, PID: os.Getpid(),
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Printf("%s\n", line); err != nil {
		return fmt.Errorf("say that the cluster is ready: %w", err)
	}
	select {
	case <-c.stop:
		return nil
	case name := <-c.died:
		return c.deathOf(name)
	case err := <-c.etcd.Err():
		return fmt.Errorf("etcd stopped: %w", err)
	}
}

func (c *cluster) writeCredentials(pki, server string) error {
	ca, err := newAuthority(pki, "ca")
	if err != nil {
		return err
	}
	frontProxy, err := newAuthority(pki, "front-proxy-ca")
	if err != nil {
		return err
	}
	const masters = "system:masters"
	c.kubeconfig = c.data.file("admin.kubeconfig")
	return errors.Join(
		newServiceAccountKey(pki),
		ca.issue("apiserver", pkix.Name{CommonName: "kube-apiserver"}, "127.0.0.1", serviceIP, "localhost",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"),
		ca.issue("kubelet-client", pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{masters}}),
		frontProxy.issue("front-proxy-client", pkix.Name{CommonName: "front-proxy-client"}),
		ca.kubeconfig(c.kubeconfig, server, "admin", pkix.Name{CommonName: "admin", Organization: []string{masters}}),
		ca.kubeconfig(c.data.file("controller-manager.kubeconfig"), server, "controller-manager", pkix.Name{CommonName: "system:kube-controller-manager"}),
		ca.kubeconfig(c.data.file("scheduler.kubeconfig"), server, "scheduler", pkix.Name{CommonName: "system:kube-scheduler"}),
	)
}

func (c *cluster) start(name string, flags []string) error {
	child, err := start(name, c.logDir, flags)
	if err != nil {
		return err
	}
	c.children = append(c.children, child)
	go func() {
		<-child.ended
		c.died <- name
	}()
	return nil
}

// tearDown ends every component, the last one started first, and removes the data. What is to be saved is saved when etcd
// has written it all.
func (c *cluster) tearDown() error {
	for i := len(c.children) - 1; i >= 0; i-- {
		c.children[i].kill()
	}
	var err error
	if c.etcd != nil {
		stopped := stopEtcd(c.etcd)
		if c.saveData != "" {
			if err = stopped; err == nil {
				err = saveData(c.saveData, c.data.file("etcd", "data"))
			}
		}
	}
	if removal := c.data.remove(); removal != nil {
		err = errors.Join(err, fmt.Errorf("remove the data: %w", removal))
	}
	return err
}

func (c *cluster) deathOf(name string) error {
	for _, child := range c.children {
		if child.name == name {
			return fmt.Errorf("%s ended by itself (%s):\n%s", name, child.cmd.ProcessState, tail(child.logFile))
		}
	}
	return fmt.Errorf("%s ended by itself", name)
}

func (c *cluster) tails() string {
	var out bytes.Buffer
	for _, child := range c.children {
		fmt.Fprintf(&out, "the end of the log of %s:\n%s\n", child.name, tail(child.logFile))
	}
	return out.String()
}

// tail is the last lines of a log: what somebody needs to see before the log goes with the data.
func tail(file string) []byte {
	data, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-20):], []byte("\n"))
}
