// Package steelyard_test proves that the generated stubs alone are enough to use a registry.
package steelyard_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "example.com/steelyard/clients/go/steelyard/v1"
)

const (
	testLimit   = time.Minute
	stopLimit   = 20 * time.Second
	chunkBytes  = 1 << 20
	fileName    = "weights/model.bin"
	modelName   = "default/fraud"
	interpreter = "../../.venv/bin/python"
)

var listening = regexp.MustCompile(`listening on (\S+)`)

func TestAFileUploadedWithTheStubsIsReadBackFromItsVersion(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	channel := connect(t, startServer(t))
	data := bytes.Repeat([]byte("steelyard"), 250_000)
	file := &pb.File{
		Path:      fileName,
		Digest:    digestOf(data),
		SizeBytes: int64(len(data)),
		Role:      pb.FileRole_FILE_ROLE_WEIGHTS,
	}

	createModel(ctx, t, channel)
	if stored := upload(ctx, t, channel, data); stored != file.Digest {
		t.Fatalf("the server stored %s, sent was %s", stored, file.Digest)
	}
	version := createVersion(ctx, t, channel, file)
	header, read := readFile(ctx, t, channel, version.Number)

	if version.Number != 1 || header.Digest != version.Digest {
		t.Errorf("version %d of digest %s was read as %s", version.Number, version.Digest, header.Digest)
	}
	if header.File.Digest != file.Digest || digestOf(read) != file.Digest {
		t.Errorf("the file of digest %s came back as %s, announced as %s",
			file.Digest, digestOf(read), header.File.Digest)
	}
	if !bytes.Equal(read, data) {
		t.Errorf("%d bytes went in, %d others came back", len(data), len(read))
	}
}

func createModel(ctx context.Context, t *testing.T, channel *grpc.ClientConn) {
	t.Helper()
	_, err := pb.NewModelServiceClient(channel).CreateModel(ctx, &pb.CreateModelRequest{Name: modelName})
	check(t, err)
}

// upload sends one blob as a header, chunks and a finish, and returns the digest that the server computed.
func upload(ctx context.Context, t *testing.T, channel *grpc.ClientConn, data []byte) string {
	t.Helper()
	stream, err := pb.NewBlobServiceClient(channel).WriteBlobs(ctx)
	check(t, err)
	header := &pb.BlobHeader{Namespace: "default", SizeBytes: int64(len(data)), Digest: digestOf(data)}
	check(t, stream.Send(&pb.WriteBlobsRequest{Header: header}))
	answer, err := stream.Recv()
	check(t, err)
	if answer.GetReady() == nil || answer.GetReady().Offset != 0 {
		t.Fatalf("the header of a new blob was answered with %v", answer)
	}
	for begin := 0; begin < len(data); begin += chunkBytes {
		chunk := data[begin:min(begin+chunkBytes, len(data))]
		check(t, stream.Send(&pb.WriteBlobsRequest{Data: chunk}))
	}
	check(t, stream.Send(&pb.WriteBlobsRequest{Finish: &pb.BlobFinish{}}))
	check(t, stream.CloseSend())
	return finishedDigest(t, stream)
}

func finishedDigest(t *testing.T, stream grpc.BidiStreamingClient[pb.WriteBlobsRequest, pb.WriteBlobsResponse]) string {
	t.Helper()
	digest := ""
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return digest
		}
		check(t, err)
		if finished := answer.GetFinished(); finished != nil {
			digest = finished.Digest
		}
	}
}

func createVersion(ctx context.Context, t *testing.T, channel *grpc.ClientConn, file *pb.File) *pb.Version {
	t.Helper()
	answer, err := pb.NewVersionServiceClient(channel).CreateVersion(ctx, &pb.CreateVersionRequest{
		Model:   modelName,
		Content: &pb.Content{Files: []*pb.File{file}},
	})
	check(t, err)
	return answer.Version
}

func readFile(
	ctx context.Context, t *testing.T, channel *grpc.ClientConn, number int64,
) (*pb.ReadFileHeader, []byte) {
	t.Helper()
	version := &pb.VersionRef{Model: modelName, Selector: &pb.VersionRef_Number{Number: number}}
	request := &pb.ReadFileRequest{Version: version, Path: fileName}
	stream, err := pb.NewVersionServiceClient(channel).ReadFile(ctx, request)
	check(t, err)
	first, err := stream.Recv()
	check(t, err)
	var data []byte
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return first.Header, data
		}
		check(t, err)
		data = append(data, message.Data...)
	}
}

func connect(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	channel, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	t.Cleanup(func() { _ = channel.Close() })
	return channel
}

// startServer runs the real server on a free loopback port and an empty directory, and returns its address.
func startServer(t *testing.T) string {
	t.Helper()
	command := exec.Command(python(t), "-m", "steelyard_server",
		"--listen", "127.0.0.1:0", "--data-dir", filepath.Join(t.TempDir(), "data"))
	command.Env = environment()
	command.Stderr = t.Output()
	output, err := command.StdoutPipe()
	check(t, err)
	check(t, command.Start())
	limit := time.AfterFunc(testLimit, func() { _ = command.Process.Kill() })
	t.Cleanup(func() {
		limit.Reset(stopLimit)
		stop(t, command, output)
		limit.Stop()
	})
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if found := listening.FindStringSubmatch(lines.Text()); found != nil {
			return found[1]
		}
	}
	t.Fatal("the server ended before it listened; its log stands above")
	return ""
}

func stop(t *testing.T, command *exec.Cmd, output io.Reader) {
	t.Helper()
	_ = command.Process.Signal(os.Interrupt)
	_, _ = io.Copy(io.Discard, output)
	if err := command.Wait(); err != nil {
		t.Errorf("the server did not stop well: %v", err)
	}
}

// python returns the interpreter that has the server: $STEELYARD_PYTHON, else the environment that make sets up.
func python(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("STEELYARD_PYTHON"); named != "" {
		return named
	}
	path, err := filepath.Abs(interpreter)
	check(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no %s: run `make test-go`, or set STEELYARD_PYTHON", interpreter)
	}
	return path
}

// environment returns the variables of this process without settings for a server.
func environment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "STEELYARD_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

func digestOf(data []byte) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
