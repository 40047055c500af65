// Limits of huge pages, as cgroups and CRI name them. Pure.
import { parseQuantity } from '../quantity.ts'

const units = ['B', 'KB', 'MB', 'GB', 'TB'] as const

/** `2MB` for `2Mi`: how the kernel names a page size in its cgroup files. @throws RangeError */
export function cgroupPageSize(size: string): string {
  let left = parseQuantity(size, `hugepages-${size}`)
  let unit = 0
  for (; left >= 1024n && left % 1024n === 0n && unit < units.length - 1; unit += 1) left /= 1024n
  return `${left}${units[unit]}`
}

/**
 * A limit for each page size that the node has: none may be used unless it is asked for.
 * @param sizes such as `2Mi`
 * @param bytesOf what may be used of the resource `hugepages-SIZE`
 */
export function hugePageLimits(
  sizes: readonly string[],
  bytesOf: (resource: string) => bigint,
): { pageSize: string; limit: bigint }[] {
  return sizes.map((size) => ({ pageSize: cgroupPageSize(size), limit: bytesOf(`hugepages-${size}`) }))
}
