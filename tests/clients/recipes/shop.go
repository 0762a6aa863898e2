// A shop on database/sql, with the recipe of docs/recipes.md in place of RECIPE: `shop URL KEY`.
package main

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

type Order struct {
	ID      int    `json:"id"`
	State   string `json:"state"`
	Version int    `json:"version"`
}

var url, key = os.Args[1], os.Args[2]
var client = http.Client{Timeout: 2 * time.Second}

func commit(tx *sql.Tx, order Order) error {
	// RECIPE
	return nil
}

func main() {
	sql.Register("one row", &database{})
	db, err := sql.Open("one row", "")
	check(err)
	save := func(order Order) error {
		tx, err := db.Begin()
		check(err)
		_, err = tx.Exec("UPDATE", order.State)
		check(err)
		return commit(tx, order)
	}
	check(save(Order{42, "new", 1}))
	check(save(Order{42, "paid", 2}))
	check(save(Order{42, "paid", 2})) // The same once more, as a job that is run again would.
	if save(Order{42, "refused", 3}) == nil {
		log.Fatal("the commit was to fail")
	}
	fmt.Println(stored)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A database of one row with transactions, of which those that write "refused" cannot be committed.
var stored, pending string

type database struct{}

func (d *database) Open(string) (driver.Conn, error)         { return d, nil }
func (d *database) Prepare(string) (driver.Stmt, error)      { return d, nil }
func (d *database) Begin() (driver.Tx, error)                { return d, nil }
func (d *database) Close() error                             { return nil }
func (d *database) Rollback() error                          { return nil }
func (d *database) NumInput() int                            { return 1 }
func (d *database) Query([]driver.Value) (driver.Rows, error) { return nil, errors.New("it is not read") }
func (d *database) Exec(values []driver.Value) (driver.Result, error) {
	pending = values[0].(string)
	return driver.RowsAffected(1), nil
}
func (d *database) Commit() error {
	if pending == "refused" {
		return errors.New("serialization failure")
	}
	stored = pending
	return nil
}
