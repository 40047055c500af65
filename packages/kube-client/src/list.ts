// Whole collections, page by page.

import type { KubeClient, KubeList, ListOptions } from './client.ts'
import { isGone } from './errors.ts'
import type { KubeObject, Resource } from './resources.ts'
import { eachInTurn, inSlices } from './slices.ts'

export interface ListAllOptions<T extends KubeObject> extends Omit<ListOptions, 'continue'> {
  /** What is kept of each object, page by page, so that the rest never is in memory as a whole; default: all of it. */
  transform?: ((object: T) => T) | undefined
}

/**
 * Lists all pages. The resourceVersion is that of the first page, so that a watch from it misses nothing.
 * When the pages expire midway, all is listed again in one piece.
 * @param options.limit objects per page; default 500
 */
export const listAll = async <T extends KubeObject>(
  client: Pick<KubeClient, 'list'>,
  resource: Resource<T>,
  { transform, ...options }: ListAllOptions<T> = {},
): Promise<KubeList<T>> => {
  const { signal } = options
  const kept = async (page: T[]): Promise<T[]> => {
    if (!transform) return page
    const all: T[] = []
    await inSlices(
      eachInTurn(page, (object) => void all.push(transform(object))),
      signal,
    )
    return all
  }
  const first = await client.list(resource, { limit: 500, ...options })
  const items = await kept(first.items)
  const skipped = [...(first.skipped ?? [])]
  let next = first.metadata.continue
  while (next) {
    try {
      // The token stands for the version; the server refuses both together.
      const { resourceVersion: _version, resourceVersionMatch: _match, ...rest } = options
      const page = await client.list(resource, { limit: 500, ...rest, continue: next })
      for (const object of await kept(page.items)) items.push(object)
      skipped.push(...(page.skipped ?? []))
      next = page.metadata.continue
    } catch (error) {
      if (!isGone(error)) throw error
      const whole = await client.list(resource, { ...options, limit: undefined })
      return { ...whole, items: await kept(whole.items) }
    }
  }
  const { continue: _continue, remainingItemCount: _remaining, ...metadata } = first.metadata
  return { metadata, items, ...(skipped.length > 0 && { skipped }) }
}
