# A chat in one file: a page, and a channel that sends each message to all who are connected.

require "securerandom"
require "rails"
require "action_controller/railtie"
require "action_cable/engine"

# The key of sessions and signed cookies, generated at the first start in the service's state directory.
KEY = File.join(ENV.fetch("STATE_DIRECTORY"), "secret_key_base")
File.write(KEY, SecureRandom.hex(64), perm: 0o600) unless File.exist?(KEY)

LIBRARY = File.read(File.join(Gem.loaded_specs["actioncable"].full_gem_path, "app/assets/javascripts/action_cable.js"))

class Chat < Rails::Application
  config.load_defaults 6.1
  config.eager_load = true
  config.logger = ActiveSupport::Logger.new($stdout)
  config.secret_key_base = File.read(KEY)
  config.force_ssl = true                                  # with X-Forwarded-Proto, which the proxy sets
  config.ssl_options = { hsts: false, redirect: { exclude: ->(request) { request.path == "/up" } } }
  config.action_cable.cable = { "adapter" => "async" }     # one process; redis for several
  config.action_cable.mount_path = "/cable"

  routes.append do
    get "/up", to: ->(_env) { [200, { "Content-Type" => "text/plain" }, ["up"]] }
    get "/action_cable.js", to: ->(_env) { [200, { "Content-Type" => "text/javascript" }, [LIBRARY]] }
    root to: ChatController.action(:page)
  end
end

class ChatController < ActionController::Base
  PAGE = File.read(File.join(__dir__, "page.html"))

  def page
    render html: PAGE.html_safe
  end
end

module ApplicationCable
  class Connection < ActionCable::Connection::Base
    identified_by :address

    def connect
      self.address = request.remote_ip
    end
  end
end

class ChatChannel < ActionCable::Channel::Base
  def subscribed
    stream_from "chat"
  end

  def say(data)
    ActionCable.server.broadcast("chat", { from: connection.address, text: data["text"] })
  end
end

Chat.initialize!
run Chat
