// Loop devices: files as block devices. Needs root.
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { constants } from 'node:fs'
import { basename } from 'node:path'
import { LinuxError } from './errors.ts'
import { call } from './libc.ts'
import { makeNode } from './node.ts'

/** ioctls of linux/loop.h. */
const [LOOP_CLR_FD, LOOP_GET_STATUS64, LOOP_SET_CAPACITY] = [0x4c01, 0x4c05, 0x4c07]
const [LOOP_CONFIGURE, LOOP_CTL_GET_FREE] = [0x4c0a, 0x4c82]
const flag = { readOnly: 1, autoClear: 4 }
/** `struct loop_config`: fd, block size, `loop_info64` of 232 bytes, 8 reserved words. */
const configBytes = 304
/** `struct loop_info64` begins with the device and the inode of the file. */
const [infoBytes, inodeAt] = [232, 8]
const [flagsAt, fileNameAt, fileNameBytes] = [8 + 52, 8 + 56, 63]
const loopMajor = 7

export interface LoopOptions {
  readOnly?: boolean
  /** It goes with its last user, be that a mount: until then hold what `attachLoop` answers. Default false. */
  autoClear?: boolean
}

/** Disposing it lets go of an `autoClear` device, and does nothing to one that is to stay. */
export interface LoopDevice extends Disposable {
  /** For instance `/dev/loop0`. */
  readonly path: string
}

/**
 * Makes a file a block device, through a free loop device. It stays until `detachLoop`, or with `autoClear` until this answer is
 * disposed and nobody else has it open, however this process ends. Linux 5.8 or later.
 * @throws LinuxError
 */
export function attachLoop(file: string, { readOnly = false, autoClear = false }: LoopOptions = {}): LoopDevice {
  const backing = openSync(file, readOnly ? 'r' : 'r+')
  try {
    for (;;) {
      const path = freeLoop()
      const device = openSync(path, readOnly ? 'r' : 'r+')
      try {
        const config = Buffer.alloc(configBytes)
        config.writeUInt32LE(backing, 0)
        config.writeUInt32LE((readOnly ? flag.readOnly : 0) | (autoClear ? flag.autoClear : 0), flagsAt)
        config.write(file.slice(-fileNameBytes), fileNameAt, fileNameBytes)
        call('ioctlWith', `${path} LOOP_CONFIGURE ${file}`, device, LOOP_CONFIGURE, config)
        // One that is to stay is not held: while it is open it could not be given back.
        if (!autoClear) closeSync(device)
        let open = autoClear
        return {
          path,
          [Symbol.dispose]: () => {
            if (open) closeSync(device)
            open = false
          },
        }
      } catch (error) {
        closeSync(device)
        // Another process was quicker to take this free one.
        if (!(error instanceof LinuxError && error.code === 'EBUSY')) throw error
      }
    }
  } finally {
    closeSync(backing)
  }
}

function freeLoop(): string {
  const control = openSync('/dev/loop-control', 'r+')
  try {
    const number = call('ioctl', '/dev/loop-control LOOP_CTL_GET_FREE', control, LOOP_CTL_GET_FREE, 0)
    return nodeOf(number)
  } finally {
    closeSync(control)
  }
}

function nodeOf(number: number): string {
  const path = `/dev/loop${number}`
  // In a container nobody else may make it.
  if (!existsSync(path)) makeNode(path, constants.S_IFBLK | 0o660, loopMajor, number)
  return path
}

/** Gives a loop device back; fine when it has no file. While it is in use, it goes with its last user. @throws LinuxError */
export function detachLoop(path: string): void {
  onDevice(path, (device) => {
    try {
      call('ioctl', `${path} LOOP_CLR_FD`, device, LOOP_CLR_FD, 0)
    } catch (error) {
      if (!(error instanceof LinuxError && error.code === 'ENXIO')) throw error
    }
  })
}

/** Tells a loop device that its file has another size now. @throws LinuxError */
export function resizeLoop(path: string): void {
  onDevice(path, (device) => call('ioctl', `${path} LOOP_SET_CAPACITY`, device, LOOP_SET_CAPACITY, 0))
}

function onDevice(path: string, work: (device: number) => void): void {
  const device = openSync(path, 'r')
  try {
    work(device)
  } finally {
    closeSync(device)
  }
}

/** All loop devices that have a file, and the path of that file as the kernel knows it. */
export function readLoops(): { path: string; file: string }[] {
  return readdirSync('/sys/block')
    .filter((name) => /^loop\d+$/.test(name))
    .flatMap((name) => {
      const file = backingFile(name)
      return file === undefined ? [] : [{ path: `/dev/${name}`, file }]
    })
}

/**
 * The devices of a file, also those that were made where its path was another: in a container that is gone, for one. None when
 * there is no such file.
 * @throws LinuxError
 */
export function loopsOfFile(file: string): string[] {
  const found = statSync(file, { bigint: true, throwIfNoEntry: false })
  if (!found) return []
  // Wherever it is, the last name is the file's: the devices of others need not be opened.
  return readLoops()
    .filter((loop) => basename(loop.file).replace(/ \(deleted\)$/, '') === basename(file))
    .map(({ path }) => nodeOf(Number(path.slice('/dev/loop'.length))))
    .filter((path) => {
      const info = Buffer.alloc(infoBytes)
      return (
        isConfigured(path, info) && info.readBigUInt64LE(0) === found.dev && info.readBigUInt64LE(inodeAt) === found.ino
      )
    })
}

function isConfigured(path: string, info: Buffer): boolean {
  try {
    onDevice(path, (device) => call('ioctlWith', `${path} LOOP_GET_STATUS64`, device, LOOP_GET_STATUS64, info))
    return true
  } catch (error) {
    if (error instanceof LinuxError && error.code === 'ENXIO') return false // it lost its file just now
    throw error
  }
}

/** The devices that were made by this path, which has no symlinks. */
export const loopsOf = (file: string): string[] =>
  readLoops().flatMap((loop) => (loop.file === file ? [loop.path] : []))

function backingFile(name: string): string | undefined {
  try {
    return readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').replace(/\n$/, '')
  } catch {
    return undefined // it has none, or lost it just now
  }
}
