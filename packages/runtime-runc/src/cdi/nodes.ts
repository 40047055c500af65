// Device nodes of CDI with what their vendor left to the host to tell.
import { stat } from 'node:fs/promises'
import type { Stats } from 'node:fs'
import { deviceNumbers } from '../container/devices.ts'
import { SpecError } from '../spec/errors.ts'
import type { CdiNode } from './schema.ts'

/** A node whose type and number are known; a FIFO has no number. */
export interface CdiDeviceNode extends CdiNode {
  type: 'b' | 'c' | 'u' | 'p'
  major: number
  minor: number
}

/** @throws SpecError when the node is not on the host, or of another type there */
export async function completeNode(node: CdiNode): Promise<CdiDeviceNode> {
  const { path, hostPath = path, type, major = 0, minor = 0 } = node
  if (type !== undefined && (major !== 0 || type === 'p')) return { ...node, type, major, minor }
  let stats: Stats
  try {
    stats = await stat(hostPath)
  } catch (cause) {
    throw new SpecError(
      `CDI device ${path}: ${hostPath} cannot be looked up on the host: ${(cause as Error).message}`,
      {
        cause,
      },
    )
  }
  const found = typeOf(stats)
  if (found === undefined) throw new SpecError(`CDI device ${path}: ${hostPath} is not a device node on the host`)
  if (type !== undefined && type !== found && !(type === 'u' && found === 'c')) {
    throw new SpecError(`CDI device ${path}: ${hostPath} is of type ${found} on the host, not ${type}`)
  }
  return { ...node, type: type ?? found, ...(found === 'p' ? { major, minor } : deviceNumbers(stats.rdev)) }
}

function typeOf(stats: Stats): 'b' | 'c' | 'p' | undefined {
  if (stats.isBlockDevice()) return 'b'
  if (stats.isCharacterDevice()) return 'c'
  return stats.isFIFO() ? 'p' : undefined
}
