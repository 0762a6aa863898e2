# A shop on Active Record and SQLite, with the recipe of docs/recipes.md: `rails_shop.rb RECIPE URL KEY DIRECTORY`.

require "active_record"
require "json"
require "logger"
require "net/http"

recipe, url, key, directory = ARGV
URL = URI(url)
KEY = key
ActiveRecord::Base.logger = Logger.new($stderr, level: :warn)
ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: "#{directory}/shop.db")
ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define do
  create_table(:orders) { |table| table.string :state; table.integer :lock_version, default: 1 }
end

eval(File.read(recipe), binding, recipe)

order = Order.create!(id: 42, state: "new")
order.update!(state: "paid")
order.publish # The same once more, as a job that is run again would.
Order.transaction do
  order.update!(state: "void")
  raise ActiveRecord::Rollback
end

puts Order.find(42).state
