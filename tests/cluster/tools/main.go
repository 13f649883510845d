// Command tools asks what other people's tools make of Cloister: each subcommand reads from standard input, does what the
// tool of that name does by its own library, and writes lines of JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

const usage = `usage: tools kstatus                        < JSON List of objects
       tools ssa apply|wait|prune KUBECONFIG < manifests
       tools promlint                        < metrics
       tools textparse CONTENT-TYPE          < metrics
       tools conform CRDS                    < manifests
`

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader) error {
	at := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch at(0) {
	case "kstatus":
		return kstatus(in)
	case "ssa":
		return serverSideApply(ctx, at(1), at(2), in)
	case "promlint":
		return lint(in)
	case "textparse":
		return parseMetrics(at(1), in)
	case "conform":
		return conform(at(1), in)
	}
	return fmt.Errorf(usage)
}

// say writes a line of JSON.
func say(value any) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}
