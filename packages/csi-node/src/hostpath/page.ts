// Lists in pages. Pure.
import { CsiError } from '../sdk/errors.ts'
import type { ListRequest } from '../sdk/types.ts'

/**
 * The page that begins behind the record of `startingToken`, by id: records that come and go meanwhile move no other.
 * @throws CsiError ABORTED for a token that was never given
 */
export function pageOf<R extends { id: string }, T>(
  records: readonly R[],
  { maxEntries = Infinity, startingToken }: ListRequest,
  told: (record: R) => T,
): { entries: T[]; nextToken: string } {
  if (startingToken !== '' && !/^[0-9a-f-]{36}$/.test(startingToken)) {
    throw new CsiError('ABORTED', `starting_token ${JSON.stringify(startingToken)} was not given by this driver`)
  }
  const rest = records.filter(({ id }) => id > startingToken).toSorted((a, b) => (a.id < b.id ? -1 : 1))
  const page = rest.slice(0, maxEntries)
  return { entries: page.map(told), nextToken: page.length < rest.length ? (page.at(-1)?.id ?? '') : '' }
}
