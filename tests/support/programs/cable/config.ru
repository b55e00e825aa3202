# A Rails application as Chatwoot is one behind a proxy: Action Cable, and nothing but TLS.
#
# Action Cable's own check of origins is on, as Rails has it: the page that connects is to be of the
# scheme, name and port that the service is asked for.

require "rails"
require "action_controller/railtie"
require "action_cable/engine"

class Lookalike < Rails::Application
  config.load_defaults 6.1
  config.eager_load = true
  config.force_ssl = true
  config.logger = ActiveSupport::Logger.new($stdout)
  config.secret_key_base = ENV.fetch("SECRET_KEY_BASE")
  config.action_cable.cable = { "adapter" => "async" }
  config.action_cable.mount_path = "/cable"

  routes.append do
    get "/health", to: ->(_env) { [200, { "Content-Type" => "application/json" }, ['{"status":"woot"}']] }
    root to: ->(_env) { [200, { "Content-Type" => "text/html" }, ["<title>Chat</title>"]] }
    get "/asked", to: AskedController.action(:show)
  end
end

# What the application takes a request for, once it has looked at what the proxy says.
module Asked
  def self.about(request)
    { url: request.original_url, base_url: request.base_url, ssl: request.ssl?, remote_ip: request.remote_ip }
  end
end

class AskedController < ActionController::API
  def show
    # As Chatwoot finds the token of its API.
    token = request.headers[:api_access_token] || request.headers[:HTTP_API_ACCESS_TOKEN]
    render json: Asked.about(request).merge(token: token)
  end
end

module ApplicationCable
  class Connection < ActionCable::Connection::Base
    identified_by :seen

    def connect
      self.seen = Asked.about(request)
    end
  end
end

class AskedChannel < ActionCable::Channel::Base
  def subscribed
    transmit(connection.seen)
  end

  def echo(data)
    transmit({ text: data["text"] })
  end
end

Lookalike.initialize!
run Lookalike
