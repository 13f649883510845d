// Command plugins reads policies as the projects read them whose they are, for tests: CiliumNetworkPolicies as Cilium does
// (https://cilium.io), and ClusterNetworkPolicies by their types (https://network-policy-api.sigs.k8s.io).
//
// With the argument "cilium" it prints Cilium's definition of its kind. Otherwise each line of standard input is a policy in
// JSON, with names to be asked of it; each line of standard output says whether the policy is taken, and for each name
// whether Cilium's rules by name mean it.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	definitions "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/client/crds/v2"
	ciliumv2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	"github.com/cilium/cilium/pkg/option"
	"github.com/cilium/cilium/pkg/policy/api"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

type question struct {
	Cilium  *ciliumv2.CiliumNetworkPolicy `json:"cilium"`
	Cluster json.RawMessage               `json:"cluster"`
	Names   []string                      `json:"names"`
}

type answer struct {
	// Why the policy is not taken.
	Error string `json:"error,omitempty"`
	// Whether it closes what it does not open.
	Isolates bool `json:"isolates"`
	// The names that it means, among those that were asked.
	Means []string `json:"means"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "cilium" {
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
	if asked.Cilium == nil {
		return known(asked.Cluster)
	}
	rules, err := asked.Cilium.Parse(slog.New(slog.DiscardHandler), "")
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

// known says whether a ClusterNetworkPolicy has no field but those that there are.
func known(policy json.RawMessage) answer {
	fields := json.NewDecoder(bytes.NewReader(policy))
	fields.DisallowUnknownFields()
	if err := fields.Decode(new(v1alpha2.ClusterNetworkPolicy)); err != nil {
		return answer{Error: err.Error()}
	}
	return answer{}
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
