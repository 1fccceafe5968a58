// A server on 127.0.0.1 that misbehaves as it is told.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace anact::test {

struct Request {
  std::string path;
  std::map<std::string, std::string> headers;  // names in lower case
  std::size_t number = 0;                      // of this request, from 0

  [[nodiscard]] std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
  // What follows "bytes=" up to the hyphen; 0 without a range.
  [[nodiscard]] std::size_t from() const {
    const auto range = header("range");
    return range.empty() ? 0 : static_cast<std::size_t>(std::stoull(range.substr(6)));
  }
};

struct Reply {
  std::string bytes;   // all that is sent
  bool hangs = false;  // the connection stays open, and nothing more comes
};

// An answer's head and body. The body may be shorter than the length says.
inline std::string answer(const std::string& status, const std::vector<std::string>& headers, std::string_view body,
                          std::size_t length) {
  std::string text =
      "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(length) + "\r\nConnection: close\r\n";
  for (const auto& header : headers) text += header + "\r\n";
  return text + "\r\n" + std::string(body);
}

inline std::string answer(const std::string& status, const std::vector<std::string>& headers, std::string_view body) {
  return answer(status, headers, body, body.size());
}

// What a server that keeps to the standard (RFC 9110) answers for a file of this content and tag; with `most`, it
// closes the connection after so many bytes of the body.
inline std::string serve(const Request& request, std::string_view content, const std::string& tag = "",
                         std::size_t most = std::string::npos) {
  std::vector<std::string> headers;
  if (!tag.empty()) headers.push_back("eTaG:  " + tag + " ");
  const auto condition = request.header("if-range");
  const auto from = request.from();
  if (request.header("range").empty() || (!condition.empty() && condition != tag)) {
    return answer("200 OK", headers, content.substr(0, most), content.size());
  }
  if (from >= content.size()) return answer("416 Range Not Satisfiable", headers, "");
  headers.push_back("Content-Range: bytes " + std::to_string(from) + "-" + std::to_string(content.size() - 1) + "/" +
                    std::to_string(content.size()));
  return answer("206 Partial Content", headers, content.substr(from, most), content.size() - from);
}

class HttpServer {
 public:
  using Handler = std::function<Reply(const Request&)>;

  explicit HttpServer(Handler handler) : handler_(std::move(handler)) {
    // Whatever proxy the machine has.
    ::setenv("no_proxy", "127.0.0.1", 1);
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (socket_ < 0 || ::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(socket_, 16) != 0 || ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("cannot listen on 127.0.0.1");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer() {
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
    for (const int connection : open_) ::close(connection);
  }

  [[nodiscard]] std::string url(const std::string& path = "/file") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }

  // So far.
  [[nodiscard]] std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void run() {
    for (;;) {
      const int connection = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0) return;
      const auto request = read_request(connection);
      const auto reply = handler_(request);
      for (std::string_view rest = reply.bytes; !rest.empty();) {
        const auto sent = ::send(connection, rest.data(), rest.size(), MSG_NOSIGNAL);
        if (sent <= 0) break;
        rest.remove_prefix(static_cast<std::size_t>(sent));
      }
      if (reply.hangs) {
        open_.push_back(connection);
      } else {
        ::close(connection);
      }
    }
  }

  Request read_request(int connection) {
    std::string text;
    char byte = 0;
    while (!text.ends_with("\r\n\r\n") && ::recv(connection, &byte, 1, 0) == 1) text += byte;
    Request request;
    for (std::size_t begin = 0, line = 0; begin < text.size(); ++line) {
      const auto end = text.find("\r\n", begin);
      const auto words = text.substr(begin, end - begin);
      begin = end + 2;
      if (line == 0) {
        const auto space = words.find(' ');
        request.path = words.substr(space + 1, words.find(' ', space + 1) - space - 1);
      } else if (const auto colon = words.find(": "); colon != std::string::npos) {
        auto name = words.substr(0, colon);
        std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        request.headers[name] = words.substr(colon + 2);
      }
    }
    const std::lock_guard lock(mutex_);
    request.number = requests_.size();
    requests_.push_back(request);
    return request;
  }

  Handler handler_;
  int socket_ = -1;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
  std::vector<int> open_;  // of the thread alone, until it has ended
  std::thread thread_;
};

}  // namespace anact::test
