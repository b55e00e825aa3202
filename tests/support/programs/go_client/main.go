// Talks to a service as the clients of golang.org/x/net/websocket do, one line of JSON for each try.
//
//	client ADDRESS ROOT_PEM URL [SUBPROTOCOL…]
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log"
	"net"
	"os"
	"time"

	"golang.org/x/net/websocket"
)

func main() {
	address, pem, url, offered := os.Args[1], os.Args[2], os.Args[3], os.Args[4:]
	answer, err := ask(address, pem, url, offered)
	said := map[string]any{"answer": answer, "error": ""}
	if err != nil {
		said["error"] = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		log.Fatal(err)
	}
}

func ask(address, pem, url string, offered []string) (string, error) {
	config, err := websocket.NewConfig(url, "https://go.example.com")
	if err != nil {
		return "", err
	}
	roots, err := os.ReadFile(pem)
	if err != nil {
		return "", err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(roots)
	config.Protocol = offered
	line, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return "", err
	}
	secure := tls.Client(line, &tls.Config{RootCAs: trusted, ServerName: config.Location.Host})
	if err := secure.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	ws, err := websocket.NewClient(config, secure)
	if err != nil {
		return "", err
	}
	defer ws.Close()
	if err := websocket.Message.Send(ws, "ping"); err != nil {
		return "", err
	}
	var answer string
	err = websocket.Message.Receive(ws, &answer)
	return answer, err
}
