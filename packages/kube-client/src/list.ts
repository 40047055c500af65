// Whole collections, page by page.

import type { KubeClient, KubeList, ListOptions } from './client.ts'
import { isGone } from './errors.ts'
import type { KubeObject, Resource } from './resources.ts'

/**
 * Lists all pages. The resourceVersion is that of the first page, so that a watch from it misses nothing.
 * When the pages expire midway, all is listed again in one piece.
 * @param options.limit objects per page; default 500
 */
export const listAll = async <T extends KubeObject>(
  client: Pick<KubeClient, 'list'>,
  resource: Resource<T>,
  options: Omit<ListOptions, 'continue'> = {},
): Promise<KubeList<T>> => {
  const first = await client.list(resource, { limit: 500, ...options })
  const items = first.items
  const skipped = [...(first.skipped ?? [])]
  let next = first.metadata.continue
  while (next) {
    try {
      // The token stands for the version; the server refuses both together.
      const { resourceVersion: _version, resourceVersionMatch: _match, ...rest } = options
      const page = await client.list(resource, { limit: 500, ...rest, continue: next })
      items.push(...page.items)
      skipped.push(...(page.skipped ?? []))
      next = page.metadata.continue
    } catch (error) {
      if (!isGone(error)) throw error
      return client.list(resource, { ...options, limit: undefined })
    }
  }
  const { continue: _continue, remainingItemCount: _remaining, ...metadata } = first.metadata
  return { metadata, items, ...(skipped.length > 0 && { skipped }) }
}
