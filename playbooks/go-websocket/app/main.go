// An example WebSocket service, which answers ping with pong. Replace it with your own.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/net/websocket"
)

const (
	pingEvery  = 30 * time.Second // well below the proxy's idle_timeout
	maxMessage = 1 << 20
)

// pings are WebSocket ping frames: clients answer them automatically, and proxies see traffic.
var pings = websocket.Codec{Marshal: func(interface{}) ([]byte, byte, error) {
	return nil, websocket.PingFrame, nil
}}

func serve(ws *websocket.Conn) {
	ws.MaxPayloadBytes = maxMessage
	ended := make(chan struct{})
	defer close(ended)
	go keepAlive(ws, ended)
	for {
		var text string
		if err := websocket.Message.Receive(ws, &text); err != nil {
			return // the client has disconnected: returning closes the connection
		}
		if text == "ping" {
			text = "pong"
		}
		if err := websocket.Message.Send(ws, text); err != nil {
			return
		}
	}
}

func keepAlive(ws *websocket.Conn, ended <-chan struct{}) {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
			if err := pings.Send(ws, nil); err != nil {
				return
			}
		}
	}
}

// accept leaves the origin check to the proxy, and selects no subprotocol. Without it, a client that
// offers two subprotocols gets 400.
func accept(config *websocket.Config, _ *http.Request) error {
	config.Protocol = nil
	return nil
}

func main() {
	mux := http.NewServeMux()
	mux.Handle("/sock", websocket.Server{Handler: serve, Handshake: accept})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintln(w, "The service is at /sock.")
	})

	// On 127.0.0.1, clients cannot bypass the proxy.
	server := &http.Server{
		Addr:              "127.0.0.1:" + os.Getenv("PORT"),
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-stop
		server.Close()
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}
