// Command validate says what kubectl-validate finds fault with in the manifests on its standard input, by the definitions in
// a folder. Kinds that are not defined there pass. It is a module of its own, since it needs older libraries than the rest.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kubectl-validate/pkg/openapiclient"
	"sigs.k8s.io/kubectl-validate/pkg/utils"
	"sigs.k8s.io/kubectl-validate/pkg/validator"
	"sigs.k8s.io/yaml"
)

type fault struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Error string `json:"error"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: validate CRDS < manifests")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(crds string, in io.Reader) error {
	factory, err := validator.New(openapiclient.NewLocalCRDFiles(os.DirFS(crds)))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	documents, err := utils.SplitYamlDocuments(text)
	if err != nil {
		return err
	}
	valid, out := 0, json.NewEncoder(os.Stdout)
	for _, document := range documents {
		var object struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Metadata   struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal(document, &object); err != nil {
			return err
		}
		version, err := schema.ParseGroupVersion(object.APIVersion)
		if err != nil || version.Group != "cloister.dev" {
			continue
		}
		_, parsed, err := factory.Parse(document)
		if err == nil {
			err = factory.Validate(parsed)
		}
		if err == nil {
			valid++
		} else if err := out.Encode(fault{object.Kind, object.Metadata.Name, err.Error()}); err != nil {
			return err
		}
	}
	return out.Encode(map[string]int{"valid": valid})
}
