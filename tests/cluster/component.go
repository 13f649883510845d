package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics, as in the components' own main
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// The components keep their flags, feature gates and signal handlers in globals of the process, so each has its own.
var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

// runComponent is what a child does. It does not return.
func runComponent(name string, args []string) {
	newCommand, ok := commands[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "cluster: no component is named %q\n", name)
		os.Exit(2)
	}
	command := newCommand()
	command.SetArgs(args)
	os.Exit(cli.Run(command))
}

// component is a running child.
type component struct {
	name    string
	logFile string
	cmd     *exec.Cmd
	// ended is closed when the process is gone.
	ended chan struct{}
}

// start runs a component. It must be called on the main thread: see init.
func start(name, logDir string, args []string) (*component, error) {
	logFile := filepath.Join(logDir, name+".log")
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	// This very file, even if a build has put another in its place.
	cmd := exec.Command("/proc/self/exe")
	// The name of the component is what a list of processes shows, and what its requests carry as user agent.
	cmd.Args = append([]string{name, "component", name}, args...)
	cmd.Stdout, cmd.Stderr = out, out
	// In a process group of its own, a child does not see the Ctrl-C of a terminal: the supervisor decides.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c := &component{name: name, logFile: logFile, cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// kill ends the component at once: there is nothing for it to save.
func (c *component) kill() {
	_ = c.cmd.Process.Kill()
	<-c.ended
}
