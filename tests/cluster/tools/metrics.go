package main

import (
	"errors"
	"io"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// lint says what promtool would find fault with.
func lint(in io.Reader) error {
	problems, err := promlint.New(in).Lint()
	if err != nil {
		return err
	}
	for _, problem := range problems {
		if err := say(problem); err != nil {
			return err
		}
	}
	return nil
}

// What a scrape by Prometheus made of a page.
type scraped struct {
	Types  map[string]string `json:"types"`
	Helps  map[string]string `json:"helps"`
	Series []string          `json:"series"`
}

// parseMetrics reads a page as Prometheus does when it comes with this Content-Type.
func parseMetrics(contentType string, in io.Reader) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	parser, err := textparse.New(text, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return err
	}
	page := scraped{Types: map[string]string{}, Helps: map[string]string{}}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return say(page)
		}
		if err != nil {
			return err
		}
		switch entry {
		case textparse.EntryType:
			name, kind := parser.Type()
			page.Types[string(name)] = string(kind)
		case textparse.EntryHelp:
			name, help := parser.Help()
			page.Helps[string(name)] = string(help)
		case textparse.EntrySeries:
			var series labels.Labels
			parser.Labels(&series)
			page.Series = append(page.Series, series.String())
		}
	}
}
