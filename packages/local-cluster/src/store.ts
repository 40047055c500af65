// Objects and revisions: in memory to be read, in SQLite to last. One process has the file.
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { ApiObject } from './object.ts'

/** One change. `previous` is what was there before. */
export interface Change {
  type: 'ADDED' | 'MODIFIED' | 'DELETED'
  revision: number
  object: ApiObject
  previous?: ApiObject
}

/** The place of one object. */
export interface OneObject {
  /** Empty for what has no namespace. */
  namespace: string
  name: string
}

/** What the API server keeps. A resource is named as in `deployments.apps`. All calls are synchronous: each is one step. */
export interface Store extends Disposable {
  revision(): number
  get(resource: string, namespace: string, name: string): ApiObject | undefined
  /** In order of namespace and name. */
  list(resource: string, namespace?: string): ApiObject[]
  /** Stores what is new or changed, with the next revision as its `resourceVersion`. */
  put(resource: string, object: ApiObject): ApiObject
  remove(resource: string, object: ApiObject): ApiObject
  /** Calls back on each change until the returned function is called. */
  subscribe(resource: string, changed: (change: Change) => void, only?: OneObject): () => void
  /** Changes after a revision; undefined when they are no longer known. */
  since(resource: string, revision: number): Change[] | undefined
}

/** Changes that are remembered per resource; who is further behind lists again. */
const remembered = 1000

const keyOf = (namespace: string, name: string): string => `${namespace}/${name}`

/** @param path the database file; made with its folder. @throws Error naming the file that is not a database */
export function openStore(path: string): Store {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const database = new DatabaseSync(path)
  try {
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
    database.exec(
      `CREATE TABLE IF NOT EXISTS objects (resource TEXT, namespace TEXT, name TEXT, value TEXT NOT NULL,
         PRIMARY KEY (resource, namespace, name)) WITHOUT ROWID;
       CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL);
       INSERT OR IGNORE INTO counter VALUES (1, 1)`,
    )
  } catch (cause) {
    database.close()
    throw new Error(`${path}: ${(cause as Error).message}: move it away to begin with an empty cluster`, { cause })
  }
  const save = database.prepare('INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)')
  const drop = database.prepare('DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?')
  const count = database.prepare('UPDATE counter SET revision = ?')
  const resources = new Map<string, ResourceState>()
  let revision = Number(database.prepare('SELECT revision FROM counter').get()?.revision)
  const begun = revision

  const stateOf = (resource: string): ResourceState => {
    let state = resources.get(resource)
    if (!state) {
      state = { objects: new Map(), changes: [], forgotten: begun, subscribers: new Set(), ofOne: new Map() }
      resources.set(resource, state)
    }
    return state
  }
  for (const row of database.prepare('SELECT resource, value FROM objects').iterate()) {
    const object = JSON.parse(String(row.value)) as ApiObject
    const { namespace = '', name } = object.metadata
    stateOf(String(row.resource)).objects.set(keyOf(namespace, name), object)
  }

  /** Both statements or none. */
  const commit = (write: () => void): void => {
    database.exec('BEGIN')
    try {
      write()
      count.run(revision + 1)
      database.exec('COMMIT')
    } catch (error) {
      database.exec('ROLLBACK')
      throw error
    }
    revision += 1
  }
  const tell = (state: ResourceState, change: Change): void => {
    state.changes.push(change)
    if (state.changes.length > remembered) state.forgotten = state.changes.shift()?.revision ?? state.forgotten
    for (const changed of state.subscribers) changed(change)
    const { namespace = '', name } = change.object.metadata
    for (const changed of state.ofOne.get(keyOf(namespace, name)) ?? []) changed(change)
  }
  const versioned = (object: ApiObject): ApiObject => ({
    ...object,
    metadata: { ...object.metadata, resourceVersion: String(revision + 1) },
  })

  return {
    revision: () => revision,
    get: (resource, namespace, name) => stateOf(resource).objects.get(keyOf(namespace, name)),
    list: (resource, namespace) => {
      const all = [...stateOf(resource).objects.entries()]
      const wanted = namespace ? all.filter(([key]) => key.startsWith(`${namespace}/`)) : all
      return wanted.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object)
    },
    put: (resource, object) => {
      const stored = versioned(object)
      const { namespace = '', name } = stored.metadata
      const state = stateOf(resource)
      const previous = state.objects.get(keyOf(namespace, name))
      commit(() => save.run(resource, namespace, name, JSON.stringify(stored)))
      state.objects.set(keyOf(namespace, name), stored)
      const type = previous ? 'MODIFIED' : 'ADDED'
      tell(state, { type, revision, object: stored, ...(previous && { previous }) })
      return stored
    },
    remove: (resource, object) => {
      const last = versioned(object)
      const { namespace = '', name } = last.metadata
      const state = stateOf(resource)
      const previous = state.objects.get(keyOf(namespace, name))
      commit(() => drop.run(resource, namespace, name))
      state.objects.delete(keyOf(namespace, name))
      tell(state, { type: 'DELETED', revision, object: last, ...(previous && { previous }) })
      return last
    },
    subscribe: (resource, changed, only) => {
      const { subscribers, ofOne } = stateOf(resource)
      if (!only) {
        subscribers.add(changed)
        return () => subscribers.delete(changed)
      }
      const key = keyOf(only.namespace, only.name)
      const own = ofOne.get(key) ?? new Set()
      ofOne.set(key, own.add(changed))
      return () => {
        if (own.delete(changed) && own.size === 0) ofOne.delete(key)
      }
    },
    since: (resource, from) => {
      const { changes, forgotten } = stateOf(resource)
      // Most who ask are nearly up to date.
      const last = changes.findLastIndex((change) => change.revision <= from)
      return from < forgotten ? undefined : changes.slice(last + 1)
    },
    [Symbol.dispose]: () => database.close(),
  }
}

interface ResourceState {
  objects: Map<string, ApiObject>
  changes: Change[]
  /** Changes up to this revision are not remembered. */
  forgotten: number
  subscribers: Set<(change: Change) => void>
  /** Of single objects, by their keys. */
  ofOne: Map<string, Set<(change: Change) => void>>
}
