// The file system that an encrypted store's RocksDB writes through: RocksDB's own encrypted files (env_encryption.h) over
// ciphers that Rust gives, and an Env for it in the form that the C interface takes.
//
// RocksDB's NewEncryptedEnv is not used: it takes every file to be encrypted and whole. Here a file says in its header
// whether it is encrypted, so a store that was written in the clear can be encrypted as it is used, and a file that a
// crash has left without its header is an empty one.
//
// A file's header is written before anything else of it, and is never written again: a WAL file that is reused gets a new
// one, with another initialization vector.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rocksdb/c.h"
#include "rocksdb/env.h"
#include "rocksdb/env_encryption.h"
#include "rocksdb/file_system.h"
#include "rocksdb/version.h"

// `rocksdb_env_t` is private to RocksDB's db/c.cc. Compare it there with the struct below before changing this line.
#if ROCKSDB_MAJOR != 11 || ROCKSDB_MINOR != 8
#error "another version of RocksDB: look whether rocksdb_env_t in db/c.cc is as below"
#endif

struct rocksdb_env_t {
  rocksdb::Env* rep;
  bool is_default;
};

// What Rust gives; see src/encryption/env.rs, which declares the same.
extern "C" struct QuorateCiphers {
  void* context;
  // Fills a header for a new file and returns the file's cipher; null if that is impossible.
  void* (*create)(void* context, uint8_t* header, size_t header_bytes);
  // What the first bytes of a file say it is; of an encrypted one with its cipher, of a refused one with the reason.
  int (*open)(void* context, const uint8_t* bytes, size_t size, void** cipher, char* reason, size_t reason_bytes);
  void (*encrypt)(const void* cipher, uint64_t offset, uint8_t* data, size_t size);
  void (*decrypt)(const void* cipher, uint64_t offset, uint8_t* data, size_t size);
  void (*close)(void* cipher);
  void (*release)(void* context);
};

namespace {

using namespace rocksdb;

// A multiple of the page: what was aligned in a file still is.
constexpr size_t kHeaderBytes = 4096;
// The part of the header that is not zero lies within.
constexpr size_t kPeekBytes = 64;
constexpr size_t kReasonBytes = 256;

enum Kind : int { kPlain = 0, kEncrypted = 1, kUnfinished = 2, kRefused = 3 };

class Ciphers {
 public:
  explicit Ciphers(const QuorateCiphers& calls) : calls_(calls) {}
  ~Ciphers() { calls_.release(calls_.context); }
  Ciphers(const Ciphers&) = delete;
  Ciphers& operator=(const Ciphers&) = delete;

  const QuorateCiphers& calls() const { return calls_; }

 private:
  QuorateCiphers calls_;
};

// The cipher of one file. Offsets count the header.
class CipherStream final : public BlockAccessCipherStream {
 public:
  CipherStream(std::shared_ptr<Ciphers> ciphers, void* cipher)
      : ciphers_(std::move(ciphers)), cipher_(cipher) {}
  ~CipherStream() override { ciphers_->calls().close(cipher_); }
  CipherStream(const CipherStream&) = delete;
  CipherStream& operator=(const CipherStream&) = delete;

  size_t BlockSize() override { return 16; }

  Status Encrypt(uint64_t offset, char* data, size_t size) override {
    if (size > 0) {
      ciphers_->calls().encrypt(cipher_, offset, reinterpret_cast<uint8_t*>(data), size);
    }
    return Status::OK();
  }

  Status Decrypt(uint64_t offset, char* data, size_t size) override {
    if (size > 0) {
      ciphers_->calls().decrypt(cipher_, offset, reinterpret_cast<uint8_t*>(data), size);
    }
    return Status::OK();
  }

 protected:
  void AllocateScratch(std::string&) override {}
  Status EncryptBlock(uint64_t, char*, char*) override { return Status::NotSupported("blocks alone"); }
  Status DecryptBlock(uint64_t, char*, char*) override { return Status::NotSupported("blocks alone"); }

 private:
  std::shared_ptr<Ciphers> ciphers_;
  void* cipher_;
};

// A file whose header is not whole holds nothing else.
class EmptySequentialFile final : public FSSequentialFile {
 public:
  IOStatus Read(size_t, const IOOptions&, Slice* result, char*, IODebugContext*) override {
    *result = Slice();
    return IOStatus::OK();
  }
  IOStatus Skip(uint64_t) override { return IOStatus::OK(); }
};

class EmptyRandomAccessFile final : public FSRandomAccessFile {
 public:
  IOStatus Read(uint64_t, size_t, const IOOptions&, Slice* result, char*, IODebugContext*) const override {
    *result = Slice();
    return IOStatus::OK();
  }
};

class QuorateFileSystem final : public FileSystemWrapper {
 public:
  QuorateFileSystem(const std::shared_ptr<FileSystem>& base, std::shared_ptr<Ciphers> ciphers)
      : FileSystemWrapper(base), ciphers_(std::move(ciphers)) {}

  const char* Name() const override { return "QuorateFileSystem"; }

  IOStatus NewSequentialFile(const std::string& name, const FileOptions& options,
                             std::unique_ptr<FSSequentialFile>* result, IODebugContext* dbg) override {
    result->reset();
    if (options.use_mmap_reads) {
      return NoMapping(name);
    }
    Found found;
    IOStatus status = Look(name, &found, dbg);
    if (!status.ok()) {
      return status;
    }
    if (found.kind == kUnfinished) {
      result->reset(new EmptySequentialFile());
      return status;
    }
    std::unique_ptr<FSSequentialFile> file;
    status = target()->NewSequentialFile(name, options, &file, dbg);
    if (!status.ok()) {
      return status;
    }
    if (found.kind == kPlain) {
      *result = std::move(file);
      return status;
    }
    status = file->Skip(kHeaderBytes);
    if (status.ok()) {
      result->reset(new EncryptedSequentialFile(std::move(file), std::move(found.stream), kHeaderBytes));
    }
    return status;
  }

  IOStatus NewRandomAccessFile(const std::string& name, const FileOptions& options,
                               std::unique_ptr<FSRandomAccessFile>* result, IODebugContext* dbg) override {
    result->reset();
    if (options.use_mmap_reads) {
      return NoMapping(name);
    }
    std::unique_ptr<FSRandomAccessFile> file;
    IOStatus status = target()->NewRandomAccessFile(name, options, &file, dbg);
    if (!status.ok()) {
      return status;
    }
    Found found;
    status = file->use_direct_io() ? Look(name, &found, dbg) : LookInto(*file, name, &found, dbg);
    if (!status.ok()) {
      return status;
    }
    switch (found.kind) {
      case kPlain:
        *result = std::move(file);
        break;
      case kUnfinished:
        result->reset(new EmptyRandomAccessFile());
        break;
      default:
        result->reset(new EncryptedRandomAccessFile(std::move(file), std::move(found.stream), kHeaderBytes));
    }
    return status;
  }

  IOStatus NewWritableFile(const std::string& name, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* result, IODebugContext* dbg) override {
    result->reset();
    if (options.use_mmap_writes) {
      return NoMapping(name);
    }
    std::unique_ptr<FSWritableFile> file;
    IOStatus status = target()->NewWritableFile(name, options, &file, dbg);
    return status.ok() ? Begin(std::move(file), name, options, result, dbg) : status;
  }

  IOStatus ReopenWritableFile(const std::string& name, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* result, IODebugContext* dbg) override {
    result->reset();
    if (options.use_mmap_writes) {
      return NoMapping(name);
    }
    uint64_t size = 0;
    IOStatus status = target()->FileExists(name, options.io_options, dbg);
    if (status.ok()) {
      status = target()->GetFileSize(name, options.io_options, &size, dbg);
    }
    if (status.IsNotFound() || (status.ok() && size == 0)) {
      return NewWritableFile(name, options, result, dbg);
    }
    Found found;
    if (status.ok()) {
      status = Look(name, &found, dbg);
    }
    if (!status.ok()) {
      return status;
    }
    if (found.kind == kUnfinished) {
      return NewWritableFile(name, options, result, dbg);
    }
    std::unique_ptr<FSWritableFile> file;
    status = target()->ReopenWritableFile(name, options, &file, dbg);
    if (!status.ok()) {
      return status;
    }
    if (found.kind == kPlain) {
      *result = std::move(file);
    } else {
      result->reset(new EncryptedWritableFile(std::move(file), std::move(found.stream), kHeaderBytes));
    }
    return status;
  }

  IOStatus ReuseWritableFile(const std::string& name, const std::string& old_name, const FileOptions& options,
                             std::unique_ptr<FSWritableFile>* result, IODebugContext* dbg) override {
    result->reset();
    if (options.use_mmap_writes) {
      return NoMapping(name);
    }
    Found found;
    IOStatus status = Look(old_name, &found, dbg);
    if (!status.ok()) {
      return status;
    }
    // What stands behind the new contents of a file that is reused stays: that must not be readable.
    if (found.kind != kEncrypted) {
      status = target()->DeleteFile(old_name, options.io_options, dbg);
      return status.ok() ? NewWritableFile(name, options, result, dbg) : status;
    }
    std::unique_ptr<FSWritableFile> file;
    status = target()->ReuseWritableFile(name, old_name, options, &file, dbg);
    return status.ok() ? Begin(std::move(file), name, options, result, dbg) : status;
  }

  IOStatus NewRandomRWFile(const std::string& name, const FileOptions& options,
                           std::unique_ptr<FSRandomRWFile>* result, IODebugContext* dbg) override {
    result->reset();
    if (options.use_mmap_reads || options.use_mmap_writes) {
      return NoMapping(name);
    }
    Found found;
    IOStatus status = Look(name, &found, dbg);
    if (!status.ok()) {
      return status;
    }
    if (found.kind == kUnfinished) {
      return IOStatus::Corruption(name, "the file ends within its header");
    }
    std::unique_ptr<FSRandomRWFile> file;
    status = target()->NewRandomRWFile(name, options, &file, dbg);
    if (!status.ok()) {
      return status;
    }
    if (found.kind == kPlain) {
      *result = std::move(file);
    } else {
      result->reset(new EncryptedRandomRWFile(std::move(file), std::move(found.stream), kHeaderBytes));
    }
    return status;
  }

  IOStatus NewMemoryMappedFileBuffer(const std::string& name, std::unique_ptr<MemoryMappedFileBuffer>*) override {
    return NoMapping(name);
  }

  // The base's own would write the information log past this file system, and it has keys in it.
  IOStatus NewLogger(const std::string& name, const IOOptions& options, std::shared_ptr<Logger>* result,
                     IODebugContext* dbg) override {
    return FileSystem::NewLogger(name, options, result, dbg);
  }

  IOStatus GetFileSize(const std::string& name, const IOOptions& options, uint64_t* size,
                       IODebugContext* dbg) override {
    IOStatus status = target()->GetFileSize(name, options, size, dbg);
    if (!status.ok() || *size == 0) {
      return status;
    }
    Found found;
    status = Look(name, &found, dbg);
    *size = WithoutHeader(found, *size);
    return status;
  }

  IOStatus GetChildrenFileAttributes(const std::string& dir, const IOOptions& options,
                                     std::vector<FileAttributes>* result, IODebugContext* dbg) override {
    IOStatus status = target()->GetChildrenFileAttributes(dir, options, result, dbg);
    if (!status.ok()) {
      return status;
    }
    for (FileAttributes& file : *result) {
      Found found;
      // Directories cannot be looked into, and whoever opens a damaged file is told.
      if (file.size_bytes > 0 && Look(dir + "/" + file.name, &found, dbg).ok()) {
        file.size_bytes = WithoutHeader(found, file.size_bytes);
      }
    }
    return status;
  }

  IOStatus Truncate(const std::string& name, size_t size, const IOOptions& options, IODebugContext* dbg) override {
    Found found;
    IOStatus status = Look(name, &found, dbg);
    if (!status.ok()) {
      return status;
    }
    return target()->Truncate(name, found.kind == kPlain ? size : size + kHeaderBytes, options, dbg);
  }

  // No asynchronous reads, and no buffers of the file system's own: files are decrypted in the caller's.
  void SupportedOps(int64_t& supported) override { supported = 0; }

 private:
  struct Found {
    Kind kind = kPlain;
    std::unique_ptr<BlockAccessCipherStream> stream;
  };

  static IOStatus NoMapping(const std::string& name) {
    return IOStatus::NotSupported(name, "an encrypted file cannot be mapped into memory");
  }

  static uint64_t WithoutHeader(const Found& found, uint64_t size) {
    if (found.kind == kPlain) {
      return size;
    }
    return size > kHeaderBytes ? size - kHeaderBytes : 0;
  }

  IOStatus Look(const std::string& name, Found* found, IODebugContext* dbg) {
    std::unique_ptr<FSRandomAccessFile> file;
    IOStatus status = target()->NewRandomAccessFile(name, FileOptions(), &file, dbg);
    return status.ok() ? LookInto(*file, name, found, dbg) : status;
  }

  IOStatus LookInto(const FSRandomAccessFile& file, const std::string& name, Found* found, IODebugContext* dbg) {
    char bytes[kPeekBytes];
    Slice read;
    IOStatus status = file.Read(0, kPeekBytes, IOOptions(), &read, bytes, dbg);
    if (!status.ok()) {
      return status;
    }
    const QuorateCiphers& calls = ciphers_->calls();
    void* cipher = nullptr;
    char reason[kReasonBytes] = {0};
    int kind = calls.open(calls.context, reinterpret_cast<const uint8_t*>(read.data()), read.size(), &cipher,
                          reason, kReasonBytes);
    switch (kind) {
      case kPlain:
      case kUnfinished:
        found->kind = static_cast<Kind>(kind);
        return status;
      case kEncrypted:
        found->kind = kEncrypted;
        found->stream.reset(new CipherStream(ciphers_, cipher));
        return status;
      default:
        return IOStatus::Corruption(name, reason);
    }
  }

  // Writes the header of a file that holds nothing yet.
  IOStatus Begin(std::unique_ptr<FSWritableFile> file, const std::string& name, const FileOptions& options,
                 std::unique_ptr<FSWritableFile>* result, IODebugContext* dbg) {
    alignas(kHeaderBytes) char header[kHeaderBytes] = {0};
    const QuorateCiphers& calls = ciphers_->calls();
    void* cipher = calls.create(calls.context, reinterpret_cast<uint8_t*>(header), kHeaderBytes);
    if (cipher == nullptr) {
      return IOStatus::IOError(name, "no random numbers for the header of an encrypted file");
    }
    std::unique_ptr<BlockAccessCipherStream> stream(new CipherStream(ciphers_, cipher));
    IOStatus status = file->Append(Slice(header, kHeaderBytes), options.io_options, dbg);
    if (status.ok()) {
      result->reset(new EncryptedWritableFile(std::move(file), std::move(stream), kHeaderBytes));
    }
    return status;
  }

  std::shared_ptr<Ciphers> ciphers_;
};

}  // namespace

// An Env over the default one. It owns `ciphers->context`, which it releases with the last file. Null, with the reason and
// nothing taken, where the library that is linked is not of the version of the headers: its classes may have other members.
extern "C" rocksdb_env_t* quorate_encrypted_env(const QuorateCiphers* ciphers, char* reason, size_t reason_bytes) {
  const std::string compiled = std::to_string(ROCKSDB_MAJOR) + "." + std::to_string(ROCKSDB_MINOR) + "." +
                               std::to_string(ROCKSDB_PATCH);
  const std::string linked = rocksdb::GetRocksVersionAsString(true);
  if (linked != compiled) {
    std::snprintf(reason, reason_bytes,
                  "version %s is linked, and encryption was compiled for %s: remove the library (ROCKSDB_LIB_DIR) and build "
                  "again",
                  linked.c_str(), compiled.c_str());
    return nullptr;
  }
  auto shared = std::make_shared<Ciphers>(*ciphers);
  auto files = std::make_shared<QuorateFileSystem>(rocksdb::FileSystem::Default(), std::move(shared));
  return new rocksdb_env_t{rocksdb::NewCompositeEnv(files).release(), false};
}
