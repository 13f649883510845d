// Command cluster runs a Kubernetes control plane on this machine: etcd, the API server, the controller manager and
// the scheduler, without a container, an image or a node. Tests, the demo and the benchmarks run against it.
//
// One process supervises and holds etcd; the other three components are children of it, from this same binary. When
// the cluster is ready, one line of JSON on standard output says how to reach it. When the process ends, the cluster
// and all that it wrote are gone.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	_ "time/tzdata" // time zones of CronJobs
)

func init() {
	// A child gets the parent-death signal when the *thread* that started it ends. The main thread never ends before
	// the process does, so children are started from it alone.
	runtime.LockOSThread()

	// A cluster lives shortly, and the memory is there to be used: with 400, a test takes a tenth less processor time than with
	// 200, and its API server 100 MB more.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "component" {
		runComponent(os.Args[2], os.Args[3:])
	}
	var o options
	flag.BoolVar(&o.detached, "detached", false, "run on without a parent; otherwise the end of standard input stops the cluster")
	flag.StringVar(&o.auditLog, "audit-log", "", "write an audit log at level Metadata to this file")
	flag.StringVar(&o.authentication, "authentication-config", "", "give this AuthenticationConfiguration (apiserver.config.k8s.io/v1) to the API server, beside client certificates and tokens of service accounts")
	flag.StringVar(&o.data, "data", "", "begin with a copy of this folder, which -save-data of the same binary wrote")
	flag.StringVar(&o.saveData, "save-data", "", "write what is stored to this new folder when the cluster ends")
	flag.StringVar(&o.logDir, "log-dir", "", "write the logs to this folder and leave them there; default: inside the data folder")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "cluster: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "cluster: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	detached       bool
	auditLog       string
	authentication string
	data           string
	saveData       string
	logDir         string
}
