// Who asked for what: several parts of a program may ask for one thing, of which there is one.

import { eachInTurn, type Steps } from '../slices.ts'

/** What one part asked for before a change, and after it. */
export interface ClaimChange<T> {
  /** Of the part. */
  key: string
  before: readonly T[]
  after: readonly T[]
}

/** What a thing was, and what it is. */
export interface Change<T> {
  /** Undefined when it is new. */
  before: T | undefined
  /** Undefined when it is gone. */
  after: T | undefined
}

/** Stands for all that is asked for after all changes so far. */
export interface Claims<T> {
  /** What becomes of each thing that the changes are about, also when it stays what it was. To be done in slices. */
  updateInTurn(changes: readonly ClaimChange<T>[]): Steps<Change<T>[]>
  /** All that there is, as those that prevail ask for it. */
  all(): Iterable<T>
}

interface Claim<T> {
  /** Of which part. */
  key: string
  item: T
}

/** Of several parts that ask for one thing the last one, by key, has its way: it does not depend on who came first. */
const winner = <T>(claims: readonly Claim<T>[] = []): T | undefined =>
  claims.reduce<Claim<T> | undefined>((best, claim) => (best && best.key > claim.key ? best : claim), undefined)?.item

/** @param idOf what is the same for two items of which there can be only one */
export function createClaims<T>(idOf: (item: T) => string): Claims<T> {
  const claims = new Map<string, readonly Claim<T>[]>()
  return {
    *all() {
      for (const own of claims.values()) {
        const item = winner(own)
        if (item !== undefined) yield item
      }
    },
    *updateInTurn(changes) {
      const touched = new Map<string, T | undefined>()
      const touch = (item: T): string => {
        const id = idOf(item)
        if (!touched.has(id)) touched.set(id, winner(claims.get(id)))
        return id
      }
      yield* eachInTurn(changes, ({ key, before, after }) => {
        for (const item of before) {
          const id = touch(item)
          const rest = claims.get(id)?.filter((claim) => claim.key !== key) ?? []
          if (rest.length > 0) claims.set(id, rest)
          else claims.delete(id)
        }
        for (const item of after) {
          const id = touch(item)
          claims.set(id, [...(claims.get(id) ?? []), { key, item }])
        }
      })
      const all: Change<T>[] = []
      yield* eachInTurn(touched, ([id, before]) => void all.push({ before, after: winner(claims.get(id)) }))
      return all
    },
  }
}
