package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"
)

var onPostgres = flag.Bool("chaos.postgres", false, "Temporal on a PostgreSQL of its own, as in production, instead of its dev server")

// startServerOnPostgres is the Temporal of docker-compose.yml as processes: PostgreSQL with
// Temporal's schema, the server on it with its default settings, the namespace, its search attributes.
func (s *stack) startServerOnPostgres() error {
	database, err := s.startDatabase()
	if err != nil {
		return fmt.Errorf("PostgreSQL: %w", err)
	}
	if err := s.makeSchema(database); err != nil {
		return fmt.Errorf("Temporal's schema in PostgreSQL: %w", err)
	}
	if err := s.startServer(database); err != nil {
		return err
	}
	return s.setUpNamespace()
}

// startDatabase returns its address once it answers.
func (s *stack) startDatabase() (string, error) {
	addresses, err := freeAddresses(s.lifetime, 1)
	if err != nil {
		return "", err
	}
	owner, err := databaseUser()
	if err != nil {
		return "", err
	}
	data, err := s.initDatabase(owner)
	if err != nil {
		return "", err
	}
	host, port, _ := net.SplitHostPort(addresses[0])
	postgres, err := postgresProgram("postgres")
	if err != nil {
		return "", err
	}
	s.database, err = startProcess(s.lifetime, s.folder, "postgres", command{path: postgres, user: owner, arguments: []string{
		"-D", data, "-p", port, "-c", "listen_addresses=" + host, "-c", "unix_socket_directories=",
	}})
	if err != nil {
		return "", err
	}
	isReady, err := postgresProgram("pg_isready")
	if err != nil {
		return "", err
	}
	return addresses[0], eventually(s.lifetime, readyWithin, func(ctx context.Context) error {
		return complete(exec.CommandContext(ctx, isReady, "-h", host, "-p", port, "-U", "temporal", "-d", "postgres"))
	})
}

// initDatabase makes the folder with an empty database.
func (s *stack) initDatabase(owner *syscall.Credential) (data string, err error) {
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return "", err
	}
	data = s.file("database")
	err = errors.Join(
		os.Chmod(s.folder, 0o711), //nolint:gosec // the owner of the database passes through; what is secret in it is readable by us only
		os.Mkdir(data, 0o700), os.Chown(data, int(owner.Uid), int(owner.Gid)),
	)
	if err != nil {
		return "", fmt.Errorf("making the folder of the database: %w", err)
	}
	c := exec.CommandContext(s.lifetime, initdb, "-D", data, "-U", "temporal", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	c.Dir, c.SysProcAttr = data, &syscall.SysProcAttr{Credential: owner}
	return data, complete(c)
}

// databaseUser is who runs PostgreSQL: it refuses root.
func databaseUser() (*syscall.Credential, error) {
	account, err := user.Current()
	if err == nil && account.Uid == "0" {
		account, err = user.Lookup("postgres")
	}
	if err != nil {
		return nil, fmt.Errorf("finding a user for PostgreSQL: %w", err)
	}
	uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("the ids of user %s: %w", account.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: os.Geteuid() != 0}, nil
}

// postgresProgram is on PATH, or where Debian keeps it.
func postgresProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // the pattern is well formed
	if len(found) == 0 {
		return "", fmt.Errorf("no %s on PATH nor in /usr/lib/postgresql: install PostgreSQL", name)
	}
	return found[len(found)-1], nil
}

func (s *stack) makeSchema(database string) error {
	tool, err := builtProgram("temporal-sql-tool")
	if err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(database)
	for _, part := range []struct{ name, schema string }{
		{"temporal", "postgresql/v12/temporal"}, {"temporal_visibility", "postgresql/v12/visibility"},
	} {
		for _, action := range [][]string{{"create"}, {"setup-schema", "-v", "0.0"}, {"update-schema", "--schema-name", part.schema}} {
			arguments := append([]string{"--plugin", "postgres12", "--ep", host, "-p", port, "-u", "temporal", "--db", part.name}, action...)
			if err := complete(exec.CommandContext(s.lifetime, tool, arguments...)); err != nil {
				return err
			}
		}
	}
	return nil
}

// builtProgram is one that the Makefile builds.
func builtProgram(name string) (string, error) {
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", fmt.Errorf("no %s, run `make bin/%s`: %w", name, name, err)
	}
	return path, nil
}

// startServer starts all services of Temporal in one process, each on ports of its own.
func (s *stack) startServer(database string) error {
	server, err := builtProgram("temporal-server")
	if err != nil {
		return err
	}
	dynamicConfig := s.file("dynamicconfig.yaml")
	if err := os.WriteFile(dynamicConfig, []byte("{}\n"), 0o600); err != nil {
		return fmt.Errorf("writing Temporal's dynamic config: %w", err)
	}
	host, port, _ := net.SplitHostPort(s.temporalAddress)
	databaseHost, databasePort, _ := net.SplitHostPort(database)
	environment := []string{
		"DB=postgres12", "POSTGRES_SEEDS=" + databaseHost, "DB_PORT=" + databasePort, "POSTGRES_USER=temporal", "NUM_HISTORY_SHARDS=4",
		"BIND_ON_IP=" + host, "FRONTEND_GRPC_PORT=" + port, "DYNAMIC_CONFIG_FILE_PATH=" + dynamicConfig, "LOG_LEVEL=warn",
	}
	others := []string{
		"FRONTEND_HTTP_PORT", "FRONTEND_MEMBERSHIP_PORT", "HISTORY_GRPC_PORT", "HISTORY_MEMBERSHIP_PORT",
		"MATCHING_GRPC_PORT", "MATCHING_MEMBERSHIP_PORT", "WORKER_GRPC_PORT", "WORKER_MEMBERSHIP_PORT",
	}
	addresses, err := lowAddresses(s.lifetime, len(others))
	if err != nil {
		return err
	}
	for n, name := range others {
		_, port, _ := net.SplitHostPort(addresses[n])
		environment = append(environment, name+"="+port)
	}
	s.temporal, err = startProcess(s.lifetime, s.folder, "temporal", command{
		path: server, arguments: []string{"--allow-no-auth", "start"}, environment: environment,
	})
	return err
}

// lowAddresses are free ones with ports that fit a smallint: so Temporal's schema keeps those of the services.
func lowAddresses(ctx context.Context, n int) ([]string, error) {
	const lowest, highest, tries = 10_000, 1<<15 - 1, 1000
	var addresses []string
	for range tries {
		address := fmt.Sprint("127.0.0.1:", lowest+rand.IntN(highest-lowest))
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			continue
		}
		defer func() { _ = listener.Close() }() // all are held until all are found
		if addresses = append(addresses, address); len(addresses) == n {
			return addresses, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports from %d to %d in %d tries", n, lowest, highest, tries)
}

// setUpNamespace returns once the namespace has the search attributes.
func (s *stack) setUpNamespace() error {
	for _, step := range []struct {
		what string
		try  func(context.Context) error
	}{
		{"registering the namespace", s.registerNamespace},
		{"looking for the namespace", s.temporalAnswers}, // its registry lags
		{"registering the search attributes", func(ctx context.Context) error {
			setup := exec.CommandContext(ctx, s.binary, "setup")
			setup.Env = append(os.Environ(), "TEMPORAL_ADDRESS="+s.temporalAddress)
			return complete(setup)
		}},
	} {
		if err := eventually(s.lifetime, readyWithin, step.try); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

func (s *stack) registerNamespace(ctx context.Context) error {
	_, err := s.client.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace: client.DefaultNamespace, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
	})
	var known *serviceerror.NamespaceAlreadyExists
	if errors.As(err, &known) {
		return nil
	}
	return err //nolint:wrapcheck // the caller says what it does
}
