package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/yannh/kubeconform/pkg/validator"
	"sigs.k8s.io/yaml"
)

// As much of a CustomResourceDefinition as says what its objects look like.
type definition struct {
	Spec struct {
		Names struct {
			Kind string `json:"kind"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Schema struct {
				OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

// What kubeconform says of a manifest that it finds fault with.
type fault struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Error string `json:"error"`
}

// conform validates manifests against the definitions in a folder, as "kubeconform -strict" does; other kinds pass. The last
// line says how many were looked at.
func conform(crds string, in io.Reader) error {
	schemas, err := os.MkdirTemp("", "conform")
	if err != nil {
		return err
	}
	defer os.RemoveAll(schemas)
	if err := writeSchemas(crds, schemas); err != nil {
		return err
	}
	template := schemas + "/{{ .ResourceKind }}_{{ .ResourceAPIVersion }}.json"
	tool, err := validator.New([]string{template}, validator.Opts{Strict: true, IgnoreMissingSchemas: true})
	if err != nil {
		return err
	}
	valid := 0
	for _, result := range tool.Validate("stdin", io.NopCloser(in)) {
		switch result.Status {
		case validator.Valid:
			valid++
		case validator.Invalid, validator.Error:
			signature, err := result.Resource.Signature()
			if err != nil || signature == nil {
				return errors.Join(err, result.Err)
			}
			if err := say(fault{signature.Kind, signature.Name, result.Err.Error()}); err != nil {
				return err
			}
		}
	}
	return say(map[string]int{"valid": valid})
}

func writeSchemas(crds, folder string) error {
	files, err := filepath.Glob(filepath.Join(crds, "*.cloister.dev.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no definitions in %s", crds)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var crd definition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			return err
		}
		for _, version := range crd.Spec.Versions {
			schema := version.Schema.OpenAPIV3Schema
			closeObjects(schema)
			text, err := json.Marshal(schema)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("%s_%s.json", strings.ToLower(crd.Spec.Names.Kind), version.Name)
			if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeObjects refuses properties that a schema does not name and says what "nullable" means in words of JSON Schema, as
// the script of kubeconform does that translates definitions.
func closeObjects(schema map[string]any) {
	properties, ok := schema["properties"].(map[string]any)
	_, open := schema["x-kubernetes-preserve-unknown-fields"]
	if _, said := schema["additionalProperties"]; ok && !said && !open {
		schema["additionalProperties"] = false
	}
	if schema["nullable"] == true {
		if kind, ok := schema["type"].(string); ok {
			schema["type"] = []any{kind, "null"}
		}
		// An enum says all values, null among them.
		if values, ok := schema["enum"].([]any); ok {
			schema["enum"] = append(values, nil)
		}
	}
	for _, property := range properties {
		closeNested(property)
	}
	closeNested(schema["items"])
	closeNested(schema["additionalProperties"])
}

func closeNested(value any) {
	if schema, ok := value.(map[string]any); ok {
		closeObjects(schema)
	}
}
