package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"pikepayouts/payout"
)

// SearchAttributes are the search attributes that payouts need, by name.
func SearchAttributes() map[string]enumspb.IndexedValueType {
	return map[string]enumspb.IndexedValueType{
		payout.SearchAttributeState:     enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		payout.SearchAttributeSession:   enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		payout.SearchAttributeAttention: enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		payout.SearchAttributeCurrency:  enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		payout.SearchAttributeAmount:    enumspb.INDEXED_VALUE_TYPE_INT,
	}
}

// MissingSearchAttributes returns the names that the namespace does not have, sorted.
// A name that exists with another type is an error.
func MissingSearchAttributes(ctx context.Context, c client.Client, namespace string) ([]string, error) {
	existing, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return nil, fmt.Errorf("listing the search attributes of namespace %q: %w", namespace, err)
	}
	var missing []string
	for name, want := range SearchAttributes() {
		got, exists := existing.GetCustomAttributes()[name]
		switch {
		case !exists:
			missing = append(missing, name)
		case got != want:
			return nil, fmt.Errorf("search attribute %s has type %s, it must be %s", name, got, want)
		}
	}
	slices.Sort(missing)
	return missing, nil
}

// RegisterSearchAttributes adds those that are missing and returns their names. It may be repeated.
func RegisterSearchAttributes(ctx context.Context, c client.Client, namespace string) ([]string, error) {
	missing, err := MissingSearchAttributes(ctx, c, namespace)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	request := &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: map[string]enumspb.IndexedValueType{}}
	for _, name := range missing {
		request.SearchAttributes[name] = SearchAttributes()[name]
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, request)
	var exists *serviceerror.AlreadyExists // another process was faster
	if err != nil && !errors.As(err, &exists) {
		return nil, fmt.Errorf("adding search attributes %v to namespace %q: %w", missing, namespace, err)
	}
	return missing, nil
}
