#!/usr/bin/env node
// All plugins as one program: which of them, says the name that it is called by. Not in dist, so that npm can link it into a
// clone before there is a build.
const { enableCompileCache } = require('node:module')
const { basename, join } = require('node:path')

const built = join(__dirname, '../dist/bin')
// Beside the code, so that who may change the one may change the other.
enableCompileCache(join(built, '.compile-cache'))

const { main } = require('../dist/bin/main.cjs')
const [, path = '', ...args] = process.argv
void main(basename(path), args)
