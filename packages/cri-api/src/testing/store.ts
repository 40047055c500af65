// Objects by ID, found by a unique prefix, with names that one object holds at a time.
import { randomBytes } from 'node:crypto'
import { CriError } from '../errors.ts'

/** The sandboxes or the containers of a runtime. */
export class Store<T extends { id: string; name: string }> {
  readonly #kind: string
  readonly #objects = new Map<string, T>()

  constructor(kind: string) {
    this.#kind = kind
  }

  /** Adds what `make` returns for a fresh ID: 64 hex characters. Throws when another object holds the name. */
  add(name: string, make: (id: string) => T): T {
    const holder = this.all().find((object) => object.name === name)
    if (holder) {
      const kind = this.#kind
      throw new CriError(
        'UNKNOWN',
        `failed to reserve ${kind} name "${name}": name "${name}" is reserved for "${holder.id}"`,
      )
    }
    const object = make(randomBytes(32).toString('hex'))
    this.#objects.set(object.id, object)
    return object
  }

  all(): T[] {
    return [...this.#objects.values()]
  }

  /** The object of an ID or a unique prefix. An ambiguous prefix throws, and not NOT_FOUND: callers must not take it for gone. */
  find(id: string): T | undefined {
    if (!id) return undefined
    const exact = this.#objects.get(id)
    if (exact) return exact
    const found = this.all().filter((object) => object.id.startsWith(id))
    if (found.length > 1)
      throw new CriError('UNKNOWN', `${this.#kind} ID "${id}" is ambiguous: ${found.length} match; give more of it`)
    return found[0]
  }

  /** As `find`; throws NOT_FOUND. */
  get(id: string): T {
    const object = this.find(id)
    if (!object) throw new CriError('NOT_FOUND', `${this.#kind} "${id}" is not there`)
    return object
  }

  delete(object: T): void {
    this.#objects.delete(object.id)
  }
}

/** Whether an object has each of the wanted labels. */
export function hasLabels(labels: Record<string, string>, wanted: Record<string, string> | undefined): boolean {
  return Object.entries(wanted ?? {}).every(([key, value]) => labels[key] === value)
}

/** Nanoseconds since 1970. */
export function now(): bigint {
  return BigInt(Date.now()) * 1_000_000n
}
