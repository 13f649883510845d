// Command cilium reads CiliumNetworkPolicies as Cilium (https://cilium.io) reads them, for tests.
//
// With the argument "definition" it prints the definition of the kind. Otherwise each line of standard input is a policy
// in JSON, with names to be asked of it; each line of standard output says whether Cilium takes the policy, and for each
// name whether the policy's rules by name mean it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	definitions "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/client/crds/v2"
	ciliumv2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	"github.com/cilium/cilium/pkg/option"
	"github.com/cilium/cilium/pkg/policy/api"
)

type question struct {
	Policy *ciliumv2.CiliumNetworkPolicy `json:"policy"`
	Names  []string                      `json:"names"`
}

type answer struct {
	// Why Cilium does not take the policy.
	Error string `json:"error,omitempty"`
	// Whether it closes what it does not open.
	Isolates bool `json:"isolates"`
	// The names that it means, among those that were asked.
	Means []string `json:"means"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "definition" {
		definition, err := definitions.EmbedFS.ReadFile("ciliumnetworkpolicies.yaml")
		if err != nil {
			fail(err)
		}
		os.Stdout.Write(definition)
		return
	}
	// As they are unless somebody switches them off.
	option.Config.EnableL7Proxy = true
	option.Config.EnableNonDefaultDenyPolicies = true

	lines := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return
		}
		var asked question
		if err := json.Unmarshal(line, &asked); err != nil {
			fail(err)
		}
		if err := out.Encode(ask(asked)); err != nil {
			fail(err)
		}
	}
}

func ask(asked question) answer {
	rules, err := asked.Policy.Parse(slog.New(slog.DiscardHandler), "")
	if err != nil {
		return answer{Error: err.Error()}
	}
	found := answer{Means: []string{}}
	for _, rule := range rules {
		found.Isolates = found.Isolates || (rule.EnableDefaultDeny.Egress != nil && *rule.EnableDefaultDeny.Egress)
	}
	for _, name := range asked.Names {
		means, err := isMeant(rules, name)
		if err != nil {
			return answer{Error: err.Error()}
		}
		if means {
			found.Means = append(found.Means, name)
		}
	}
	return found
}

func isMeant(rules api.Rules, name string) (bool, error) {
	for _, rule := range rules {
		for _, egress := range rule.Egress {
			for _, selector := range egress.ToFQDNs {
				pattern, err := selector.ToRegex()
				if err != nil {
					return false, err
				}
				// Cilium asks with the final dot.
				if pattern.MatchString(name + ".") {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
